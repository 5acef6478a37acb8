from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from state_dicts import CHANNELS, NAMES, constant_state_dict
from torchvision.models import VGG19_Weights

import napari_nst
from napari_nst.engine.network import weights
from napari_nst.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator


PACKAGED = Path(napari_nst.__file__).parent / "data" / "vgg16_features.safetensors"
PACKAGED_SHA256 = "551516687b64c019586426b2a33f1e165e8452ee324a3f1a1aeee10a3ba43df1"
VGG19 = "vgg19-dcbb9e9d.pth"  # torchvision's name for it


def check_tensors(network: str, tensors: Any) -> None:
    """Check that tensors are those of `constant_state_dict`."""
    assert len(tensors) == 2 * len(NAMES[network])
    for k, name in enumerate(NAMES[network]):
        assert float(tensors[f"{name}.weight"].mean()) == k + 0.5
        assert float(tensors[f"{name}.bias"].mean()) == -k - 0.5


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """Use a temporary folder for the checkpoints of torch hub."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    yield checkpoints
    torch.hub.set_dir(before)


def test_the_packaged_vgg16_has_the_expected_hash() -> None:
    assert hashlib.sha256(PACKAGED.read_bytes()).hexdigest() == PACKAGED_SHA256
    assert weights.find("vgg16") == PACKAGED
    loaded = weights.load("vgg16")
    assert (loaded.network, loaded.source) == ("vgg16", PACKAGED.name)
    assert loaded.sha256 == PACKAGED_SHA256


def test_the_packaged_vgg16_is_complete() -> None:
    tensors, inputs = weights.load("vgg16").tensors, 3
    assert len(tensors) == 26
    for name, outputs in zip(NAMES["vgg16"], CHANNELS["vgg16"], strict=True):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        assert (weight.shape, bias.shape) == ((outputs, inputs, 3, 3), (outputs,))
        assert weight.isfinite().all() and bias.isfinite().all()
        assert weight.float().std() > 1e-3
        inputs = outputs


def install_packaged_file(
    monkeypatch: pytest.MonkeyPatch, root: Path, content: bytes | None
) -> Path:
    """Write the packaged file to another folder, and make the package use that folder."""
    monkeypatch.setattr(weights, "files", lambda package: root)
    file = root / "data" / PACKAGED.name
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    return file


@pytest.mark.parametrize("position", [0, 500, -1])
def test_a_flipped_bit_in_the_packaged_file_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, position: int
) -> None:
    content = bytearray(PACKAGED.read_bytes())
    content[position] ^= 1
    file = install_packaged_file(monkeypatch, tmp_path, bytes(content))
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16")
    found = hashlib.sha256(content).hexdigest()
    assert str(caught.value).startswith(f"{file} is damaged: its sha256 is {found[:8]}...")
    assert "55151668" in str(caught.value) and "again" in str(caught.value)


def test_a_truncated_packaged_file_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install_packaged_file(monkeypatch, tmp_path, PACKAGED.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="is damaged") as caught:
        weights.load("vgg16")
    assert str(file) in str(caught.value)


def test_a_missing_packaged_file_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install_packaged_file(monkeypatch, tmp_path, None)
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16")
    assert str(caught.value) == f"There is no weights file {file} (No such file or directory)."


def test_without_vgg19_the_message_says_how_to_get_it(hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg19")
    message = str(caught.value)
    assert "\n" not in message
    assert f"https://download.pytorch.org/models/{VGG19}" in message
    assert str(hub / VGG19) in message
    assert "'weights'" in message and "'vgg16'" in message


def test_the_url_of_vgg19_is_that_of_torchvision() -> None:
    assert VGG19_Weights.IMAGENET1K_V1.url == weights.VGG19_URL
    assert weights.hash_in_name(weights.VGG19_URL.rsplit("/", 1)[1]) == "dcbb9e9d"


def test_another_file_with_the_name_of_vgg19_raises(hub: Path) -> None:
    torch.save(constant_state_dict("vgg19", "features.{index}"), hub / VGG19)
    with pytest.raises(WeightsError, match=r"is damaged.*should begin with dcbb9e9d") as caught:
        weights.load("vgg19")
    assert str(hub / VGG19) in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "the format before 1.6"])
def test_vgg19_is_read_from_torch_hub(
    hub: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    file = hub / "new.pth"
    torch.save(
        constant_state_dict("vgg19", "features.{index}") | {"classifier.0.bias": torch.ones(3)},
        file,
        _use_new_zipfile_serialization=zipped,  # torchvision's VGG-19 is from 2017, and not one
    )
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    name = f"vgg19-{sha256[:8]}.pth"
    file.rename(hub / name)
    url = f"https://download.pytorch.org/models/{name}"
    monkeypatch.setattr(weights, "VGG19_URL", url)
    loaded = weights.load("vgg19")
    assert (loaded.network, loaded.source, loaded.sha256) == ("vgg19", name, sha256)
    check_tensors("vgg19", loaded.tensors)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "key", ["features.{index}", "{index}", "{name}"], ids=["whole", "features", "named"]
)
def test_every_form_of_state_dict_is_read(
    tmp_path: Path, network: str, zipped: bool, key: str
) -> None:
    file = tmp_path / "mine.pt"
    torch.save(constant_state_dict(network, key), file, _use_new_zipfile_serialization=zipped)
    loaded = weights.load(network, str(file))
    check_tensors(network, loaded.tensors)
    assert loaded.source == "mine.pt"
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_safetensors_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    tensors = constant_state_dict("vgg16", "features.{index}")
    save_file({key: tensor.half().contiguous() for key, tensor in tensors.items()}, file)
    check_tensors("vgg16", weights.load("vgg16", str(file)).tensors)


def test_a_path_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    torch.save(constant_state_dict("vgg16", "{name}"), tmp_path / "mine.pt")
    check_tensors("vgg16", weights.load("vgg16", os.path.join("~", "mine.pt")).tensors)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    torch.save(constant_state_dict("vgg16", "{name}"), file)
    first = weights.load("vgg16", str(file))
    assert weights.load("vgg16", str(file)) is first
    other = {key: tensor + 1 for key, tensor in constant_state_dict("vgg16", "{name}").items()}
    torch.save(other, tmp_path / "other.pt")
    os.utime(tmp_path / "other.pt", ns=(0, 10**18))
    (tmp_path / "other.pt").replace(file)
    assert float(weights.load("vgg16", str(file)).tensors["conv1_1.bias"][0]) == 0.5


@pytest.mark.parametrize(
    ("network", "other", "key", "message"),
    [
        ("vgg16", "vgg19", "{name}", "holds vgg19's weights, for it has conv3_4.weight; choose"),
        ("vgg16", "vgg19", "features.{index}", "holds vgg19's weights, for it has features.16.w"),
        ("vgg16", "vgg19", "{index}", "holds vgg19's weights, for it has 16.weight; choose"),
        ("vgg19", "vgg16", "features.{index}", "holds vgg16's weights, for it has features.17.w"),
        ("vgg19", "vgg16", "{index}", "holds vgg16's weights, for it has 17.weight; choose"),
        ("vgg19", "vgg16", "{name}", "does not hold vgg19's weights: conv3_4.weight is missing."),
    ],
)
@pytest.mark.parametrize("classifier", [True, False])
def test_a_file_of_another_network_raises(
    tmp_path: Path, network: str, other: str, key: str, message: str, classifier: bool
) -> None:
    file = tmp_path / "mine.pt"
    rest = {"classifier.0.weight": torch.ones(1).expand(4096, 25088)} if classifier else {}
    torch.save(constant_state_dict(other, key) | rest, file)
    with pytest.raises(WeightsError) as caught:
        weights.load(network, str(file))
    assert str(caught.value).startswith(f"{file} {message}")


def test_the_classifier_of_a_flattened_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    torch.save(
        constant_state_dict("vgg16", "{index}") | {"32.weight": torch.ones(1).expand(4096, 25088)},
        file,
    )
    check_tensors("vgg16", weights.load("vgg16", str(file)).tensors)


@pytest.mark.parametrize("wrong", [torch.zeros(64, 3, 5, 5), "text", None])
def test_a_tensor_of_another_shape_raises(tmp_path: Path, wrong: object) -> None:
    file = tmp_path / "mine.pt"
    torch.save(constant_state_dict("vgg16", "{name}") | {"conv1_1.weight": wrong}, file)
    with pytest.raises(WeightsError, match=r"conv1_1\.weight is (of another shape|missing)"):
        weights.load("vgg16", str(file))


def test_a_missing_file_raises_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16", str(tmp_path / "nowhere.pth"))
    assert str(tmp_path / "nowhere.pth") in str(caught.value)


def test_a_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16", str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [[torch.ones(3)], torch.ones(3), 7])
def test_a_file_that_is_no_state_dict_raises(tmp_path: Path, content: object) -> None:
    file = tmp_path / "mine.pt"
    torch.save(content, file)
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16", str(file))
    assert str(caught.value) == f"{file} is not a safetensors file or a PyTorch state dict."


class Exploit:
    """Creates a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_the_code_in_a_malicious_file_is_not_run(tmp_path: Path, form: str) -> None:
    file, trace = tmp_path / "mine.pth", tmp_path / "trace"
    if form == "pickle":
        file.write_bytes(pickle.dumps({"extra": Exploit(trace)}))
    else:
        state = constant_state_dict("vgg16", "{name}") | {"extra": Exploit(trace)}
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match="is not a safetensors file or a PyTorch state dict"):
        weights.load("vgg16", str(file))
    assert not trace.exists()


@pytest.fixture(scope="module")
def files_to_damage(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("files")
    torch.save(constant_state_dict("vgg16", "{name}"), folder / "zip")
    torch.save(
        constant_state_dict("vgg16", "{name}"),
        folder / "legacy",
        _use_new_zipfile_serialization=False,
    )
    contents = [(folder / name).read_bytes() for name in ("zip", "legacy")]
    return [*contents, PACKAGED.read_bytes()[:4000], b""]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    st.sampled_from([".pth", ".safetensors"]),
)
def test_every_damaged_file_raises_a_weights_error(
    tmp_path: Path,
    files_to_damage: list[bytes],
    which: int,
    share: float,
    changes: list[tuple[float, int]],
    suffix: str,
) -> None:
    original = files_to_damage[which]
    content = bytearray(original[: int(share * len(original))])
    for position, byte in changes:
        if content:
            content[min(int(position * len(content)), len(content) - 1)] = byte
    file = tmp_path / f"mine{suffix}"
    file.write_bytes(content)
    # Of vgg19 even an undamaged file lacks tensors.
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg19", str(file))
    assert str(caught.value).startswith(str(file))
