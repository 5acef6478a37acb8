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
from torchvision.models import VGG19_Weights

import napari_nst
from napari_nst.engine.network import weights
from napari_nst.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

PACKAGED = Path(napari_nst.__file__).parent / "data" / "vgg16_features.safetensors"
PACKAGED_SHA256 = "551516687b64c019586426b2a33f1e165e8452ee324a3f1a1aeee10a3ba43df1"
VGG19 = "vgg19-dcbb9e9d.pth"  # torchvision's name for it

# Output channels and indices of the convolutions in torchvision's Sequentials.
CHANNELS = {
    "vgg16": [64, 64, 128, 128, *[256] * 3, *[512] * 6],
    "vgg19": [64, 64, 128, 128, *[256] * 4, *[512] * 8],
}
PLACES = {
    "vgg16": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    "vgg19": [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
}
NAMES = {
    network: [f"conv{b}_{i}" for b, count in enumerate(counts, 1) for i in range(1, count + 1)]
    for network, counts in {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}.items()
}


def state(network: str, key: str) -> dict[str, Tensor]:
    """Return a state dict whose k-th kernel is k + 0.5 everywhere, its bias - k - 0.5.

    Each stores one number, expanded, so the file has a few kilobytes.
    """
    found, inputs = {}, 3
    for k, (place, outputs) in enumerate(zip(PLACES[network], CHANNELS[network], strict=True)):
        prefix = key.format(place=place, name=NAMES[network][k])
        found[f"{prefix}.weight"] = torch.tensor([k + 0.5]).expand(outputs, inputs, 3, 3)
        found[f"{prefix}.bias"] = torch.tensor([-k - 0.5]).expand(outputs)
        inputs = outputs
    return found


def is_the_state(network: str, tensors: Any) -> None:
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


def install(monkeypatch: pytest.MonkeyPatch, root: Path, content: bytes | None) -> Path:
    """Let the package's data be found under another folder."""
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
    file = install(monkeypatch, tmp_path, bytes(content))
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16")
    found = hashlib.sha256(content).hexdigest()
    assert str(caught.value).startswith(f"{file} is damaged: its sha256 is {found[:8]}...")
    assert "55151668" in str(caught.value) and "again" in str(caught.value)


def test_a_truncated_packaged_file_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install(monkeypatch, tmp_path, PACKAGED.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="is damaged") as caught:
        weights.load("vgg16")
    assert str(file) in str(caught.value)


def test_a_missing_packaged_file_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = install(monkeypatch, tmp_path, None)
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
    torch.save(state("vgg19", "features.{place}"), hub / VGG19)
    with pytest.raises(WeightsError, match=r"is damaged.*should begin with dcbb9e9d") as caught:
        weights.load("vgg19")
    assert str(hub / VGG19) in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "the format before 1.6"])
def test_vgg19_is_read_from_torch_hub(
    hub: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    file = hub / "new.pth"
    torch.save(
        state("vgg19", "features.{place}") | {"classifier.0.bias": torch.ones(3)},
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
    is_the_state("vgg19", loaded.tensors)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "key", ["features.{place}", "{place}", "{name}"], ids=["whole", "features", "named"]
)
def test_every_form_of_state_dict_is_read(
    tmp_path: Path, network: str, zipped: bool, key: str
) -> None:
    file = tmp_path / "mine.pt"
    torch.save(state(network, key), file, _use_new_zipfile_serialization=zipped)
    loaded = weights.load(network, str(file))
    is_the_state(network, loaded.tensors)
    assert loaded.source == "mine.pt"
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_safetensors_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    tensors = state("vgg16", "features.{place}")
    save_file({key: tensor.half().contiguous() for key, tensor in tensors.items()}, file)
    is_the_state("vgg16", weights.load("vgg16", str(file)).tensors)


def test_a_path_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    torch.save(state("vgg16", "{name}"), tmp_path / "mine.pt")
    is_the_state("vgg16", weights.load("vgg16", os.path.join("~", "mine.pt")).tensors)


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    torch.save(state("vgg16", "{name}"), file)
    first = weights.load("vgg16", str(file))
    assert weights.load("vgg16", str(file)) is first
    other = {key: tensor + 1 for key, tensor in state("vgg16", "{name}").items()}
    torch.save(other, tmp_path / "other.pt")
    os.utime(tmp_path / "other.pt", ns=(0, 10**18))
    (tmp_path / "other.pt").replace(file)
    assert float(weights.load("vgg16", str(file)).tensors["conv1_1.bias"][0]) == 0.5


@pytest.mark.parametrize(
    ("network", "other", "key", "message"),
    [
        ("vgg16", "vgg19", "{name}", "holds vgg19's weights, for it has conv3_4.weight; choose"),
        ("vgg16", "vgg19", "features.{place}", "holds vgg19's weights, for it has features.16.w"),
        ("vgg16", "vgg19", "{place}", "holds vgg19's weights, for it has 16.weight; choose"),
        ("vgg19", "vgg16", "features.{place}", "holds vgg16's weights, for it has features.17.w"),
        ("vgg19", "vgg16", "{place}", "holds vgg16's weights, for it has 17.weight; choose"),
        ("vgg19", "vgg16", "{name}", "does not hold vgg19's weights: conv3_4.weight is missing."),
    ],
)
@pytest.mark.parametrize("classifier", [True, False])
def test_a_file_of_another_network_raises(
    tmp_path: Path, network: str, other: str, key: str, message: str, classifier: bool
) -> None:
    file = tmp_path / "mine.pt"
    rest = {"classifier.0.weight": torch.ones(1).expand(4096, 25088)} if classifier else {}
    torch.save(state(other, key) | rest, file)
    with pytest.raises(WeightsError) as caught:
        weights.load(network, str(file))
    assert str(caught.value).startswith(f"{file} {message}")


def test_the_classifier_of_a_flattened_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    torch.save(state("vgg16", "{place}") | {"32.weight": torch.ones(1).expand(4096, 25088)}, file)
    is_the_state("vgg16", weights.load("vgg16", str(file)).tensors)


@pytest.mark.parametrize("wrong", [torch.zeros(64, 3, 5, 5), "text", None])
def test_a_tensor_of_another_shape_raises(tmp_path: Path, wrong: object) -> None:
    file = tmp_path / "mine.pt"
    torch.save(state("vgg16", "{name}") | {"conv1_1.weight": wrong}, file)
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


class Burglar:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_the_code_in_a_malicious_file_is_not_run(tmp_path: Path, form: str) -> None:
    file, trace = tmp_path / "mine.pth", tmp_path / "trace"
    loot = state("vgg16", "{name}") | {"extra": Burglar(trace)}
    if form == "pickle":
        file.write_bytes(pickle.dumps({"extra": Burglar(trace)}))
    else:
        torch.save(loot, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match="is not a safetensors file or a PyTorch state dict"):
        weights.load("vgg16", str(file))
    assert not trace.exists()


@pytest.fixture(scope="module")
def files_to_damage(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("files")
    torch.save(state("vgg16", "{name}"), folder / "zip")
    torch.save(state("vgg16", "{name}"), folder / "legacy", _use_new_zipfile_serialization=False)
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
    kept: float,
    changes: list[tuple[float, int]],
    suffix: str,
) -> None:
    original = files_to_damage[which]
    content = bytearray(original[: int(kept * len(original))])
    for place, byte in changes:
        if content:
            content[min(int(place * len(content)), len(content) - 1)] = byte
    file = tmp_path / f"mine{suffix}"
    file.write_bytes(content)
    # Of vgg19 even an undamaged file lacks tensors.
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg19", str(file))
    assert str(caught.value).startswith(str(file))
