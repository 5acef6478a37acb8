"""The VGG team's own weights for BGR in 0-255 minus the mean, by their hash or by a setting."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from state_dicts import INDICES
from torch.nn import functional

from napari_nst.engine.losses.objective import Objective
from napari_nst.engine.network import weights
from napari_nst.engine.network.vgg import CAFFE, TORCHVISION, FeatureExtractor
from napari_nst.errors import InputError, WeightsError
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

# From the model cards, in the order of the file's channels, blue first.
MEAN_BGR = np.array([103.939, 116.779, 123.68]).reshape(3, 1, 1)
LAYERS = ("conv1_1", "relu1_2", "relu2_1")


def state_dict(network: str, key: str = "features.{index}") -> dict[str, Tensor]:
    """Return random weights of two blocks for images in 0-255, and constant ones of the others."""
    generator, found = torch.Generator().manual_seed(7), {}
    for name, index in zip(NETWORKS[network].convolutions, INDICES[network], strict=True):
        layer = NETWORKS[network].layer(name)
        prefix = key.format(index=index, name=name)
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        if name.startswith(("conv1", "conv2")):
            size = (1 if name == "conv1_1" else 100) * 0.01 / layer.in_channels**0.5
            found[f"{prefix}.weight"] = torch.randn(shape, generator=generator) * size
            found[f"{prefix}.bias"] = torch.randn(layer.out_channels, generator=generator)
        else:  # one stored number
            found[f"{prefix}.weight"] = torch.ones(1).expand(shape)
            found[f"{prefix}.bias"] = torch.ones(1).expand(layer.out_channels)
    return found


def caffe_features(network: str, image: Tensor, padding: str) -> dict[str, Tensor]:
    """Return features of two blocks by the VGG team's prototxt, from RGB in [0, 1], in float64."""
    bgr = 255 * image.numpy()[0, ::-1] - MEAN_BGR
    x, features = torch.from_numpy(bgr)[None], {}
    random = state_dict(network, "{name}")
    for name in ("conv1_1", "conv1_2", "pool1", "conv2_1"):
        if name == "pool1":
            x = functional.max_pool2d(x, 2)
            continue
        replicate = padding == "replicate" and name == "conv1_1"
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate" if replicate else "constant")
        weight, bias = (random[f"{name}.{part}"].double() for part in ("weight", "bias"))
        x = functional.conv2d(x, weight, bias)
        features[name] = x
        x = features[f"relu{name[4:]}"] = x.clamp(min=0)
    return {name: features[name] for name in LAYERS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with weights of VGG-16 and an unknown hash."""
    torch.save(state_dict("vgg16"), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 13, 17, generator=torch.Generator().manual_seed(2)).double()


def extractor(loaded: weights.Weights, padding: Any) -> FeatureExtractor:
    return FeatureExtractor(
        loaded.network,
        loaded.tensors,
        LAYERS,
        padding=padding,
        normalization=loaded.normalization,
        dtype=torch.float64,
    )


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize(
    ("key", "classifier"),
    [
        ("features.{index}", True),
        ("features.{index}", False),
        ("{index}", False),
        ("{name}", False),
    ],
    ids=["whole", "features", "sequential", "as in the file of Gatys et al."],
)
def test_the_features_are_those_of_the_caffe_pipeline(
    tmp_path: Path, image: Tensor, network: str, padding: str, key: str, classifier: bool
) -> None:
    # The original classifier counts its dropouts, so no name of torchvision's fits.
    rest = {"classifier.1.weight": torch.ones(1).expand(4096, 25088)} if classifier else {}
    torch.save(state_dict(network, key) | rest, tmp_path / "mine.pth")
    loaded = weights.load(network, str(tmp_path / "mine.pth"), "caffe")
    assert (loaded.format, loaded.normalization) == ("caffe", CAFFE)
    found, expected = extractor(loaded, padding)(image), caffe_features(network, image, padding)
    for name in LAYERS:
        assert expected[name].std() > 0.1, f"{name} is dead"
        scale = float(expected[name].abs().max())
        # The factor of 255 is folded into the kernels in float32.
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=3e-7 * scale, msg=name)


def test_the_mean_is_subtracted_before_the_zeros_are_added(image: Tensor, file: Path) -> None:
    """As a bias it would only change the border."""
    loaded = weights.load("vgg16", str(file), "caffe")
    kernel, bias = (loaded.tensors[f"conv1_1.{part}"].double() for part in ("weight", "bias"))
    mean = torch.tensor(CAFFE.mean, dtype=torch.float64)
    folded = functional.conv2d(
        image, kernel, bias - torch.einsum("oihw,i->o", kernel, mean), padding=1
    )
    difference = (extractor(loaded, "zero")(image)["conv1_1"] - folded).abs().amax(dim=(0, 1))
    assert difference[1:-1, 1:-1].max() < 1e-9
    border = torch.ones_like(difference, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert difference[border].min() > 0.1


def test_a_grey_image_equals_three_equal_channels(image: Tensor, file: Path) -> None:
    extract = extractor(weights.load("vgg16", str(file), "caffe"), "zero")
    grey = image[:, :1]
    expected = caffe_features("vgg16", grey.expand(-1, 3, -1, -1), "zero")["relu2_1"]
    scale = float(expected.abs().max())
    torch.testing.assert_close(extract(grey)["relu2_1"], expected, rtol=0, atol=3e-7 * scale)


def test_half_precision_does_not_overflow(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in state_dict("vgg16").items()}
    half["features.0.weight"] = half["features.0.weight"].mul(0).add(300)
    torch.save(half, tmp_path / "mine.pth")
    tensors = weights.load("vgg16", str(tmp_path / "mine.pth"), "caffe").tensors
    assert tensors["conv1_1.weight"].double().eq(300 * 255).all()  # beyond the largest half, 65504


def publish(monkeypatch: pytest.MonkeyPatch, file: Path, digits: int = 8) -> None:
    """Add the hash of a file to those of the published files."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "_CAFFE_SHA256", ("0" * 64, sha256[:digits]))


@pytest.mark.parametrize("name", ["mine.pth", "vgg16-00b39a1b.pth", "vgg_conv.pth"])
@pytest.mark.parametrize("digits", [8, 64])
def test_a_published_file_is_recognised_by_its_hash(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, name: str, digits: int
) -> None:
    publish(monkeypatch, file, digits)
    renamed = file.rename(tmp_path / name)
    assert weights.load("vgg16", str(renamed)).format == "caffe"
    # The setting takes precedence over the hash.
    assert weights.load("vgg16", str(renamed), "torchvision").format == "torchvision"


def test_an_unknown_file_has_the_torchvision_format(tmp_path: Path) -> None:
    for key in ("features.{index}", "{name}"):  # the latter as in the file of Gatys et al.
        tensors, file = state_dict("vgg19", key), tmp_path / f"{key[:5]}.pth"
        torch.save(tensors, file)
        loaded = weights.load("vgg19", str(file))
        assert (loaded.format, loaded.normalization) == ("torchvision", TORCHVISION)
        kernel = tensors[f"{key.format(index=0, name='conv1_1')}.weight"]
        assert torch.equal(loaded.tensors["conv1_1.weight"], kernel)


@pytest.mark.parametrize("name", ["vgg19-d01eb7cb.pth", "vgg16-00b39a1b.pth", "vgg_conv.pth"])
def test_a_caffe_name_with_an_unknown_hash_raises(tmp_path: Path, file: Path, name: str) -> None:
    file = file.rename(tmp_path / name)
    with pytest.raises(WeightsError) as caught:
        weights.load("vgg16", str(file))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(caught.value) == (
        f"{file} has the name of weights in the Caffe format, but an unknown sha256 "
        f"({sha256[:8]}...): set weights_format to 'caffe' (it takes BGR in 0-255) or "
        "'torchvision' (RGB in 0-1)."
    )
    for chosen in ("caffe", "torchvision"):
        assert weights.load("vgg16", str(file), chosen).format == chosen


def test_published_hashes_are_distinct_and_hexadecimal() -> None:
    published = weights._CAFFE_SHA256
    assert len(set(published)) == len(published)
    for sha256 in published:
        assert len(sha256) in (8, 64) and set(sha256) <= set("0123456789abcdef")


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_the_format_without_a_file_raises(network: str) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.load(network, None, "caffe")
    assert str(caught.value) == (
        f"weights_format is 'caffe', but {network}'s weights are torchvision's unless the setting "
        "'weights' names a file: name one, or leave weights_format at 'auto'."
    )


def test_the_packaged_weights_have_the_torchvision_format() -> None:
    assert weights.load("vgg16").format == "torchvision"
    assert weights.load("vgg16", None, "torchvision").normalization == TORCHVISION


def test_the_setting_is_validated() -> None:
    assert StyleTransferSettings().weights_format == "auto"
    with pytest.raises(InputError, match="weights_format is 'bgr'; it must be 'auto', 'torchv"):
        StyleTransferSettings(weights_format="bgr")


def test_the_objective_uses_the_weights_format_of_the_settings(image: Tensor, file: Path) -> None:
    settings = StyleTransferSettings(
        weights=file,
        weights_format="caffe",
        content_layers=("relu2_1",),
        style_layers=("relu1_2",),
        normalize_gradients=False,
        tv_weight=0,
        padding="zero",
    )
    content, style, generated = image, image.flip(3).square(), image.flip(2)
    objective = Objective(content, [style], settings)
    losses, _ = objective.loss_and_gradient(generated)
    f, p, s = (caffe_features("vgg16", x, "zero") for x in (generated, content, style))
    expected = 0.5 * (f["relu2_1"] - p["relu2_1"]).square().sum()
    assert losses.content_layers["relu2_1"] == pytest.approx(float(expected), rel=1e-5)
    gram, target = (x["relu1_2"][0].flatten(1) @ x["relu1_2"][0].flatten(1).T for x in (f, s))
    n, m = 64, 13 * 17
    expected = (gram - target).square().sum() / (4 * n**2 * m**2)
    assert losses.style_layers["relu1_2"] == pytest.approx(float(expected), rel=1e-5)
