"""Load pretrained weights and verify that they are the right ones."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from safetensors.torch import load_file

from napari_nst.engine.network import converted
from napari_nst.engine.network.vgg import CAFFE, TORCHVISION
from napari_nst.errors import WeightsError
from napari_nst.networks import NETWORKS, Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_nst.engine.network.vgg import Normalization

    Format = Literal["torchvision", "caffe"]

__all__ = ["VGG19_URL", "Weights", "find", "hash_in_name", "load", "read"]

# torchvision.models.VGG19_Weights.IMAGENET1K_V1.url, copied because importing torchvision imports
# triton, which crashes the process beside a canvas on software OpenGL.
VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

_VGG16 = "vgg16_features.safetensors"
_VGG16_SHA256 = "551516687b64c019586426b2a33f1e165e8452ee324a3f1a1aeee10a3ba43df1"

# Indices of the convolutions in torchvision's Sequential: "features.0.weight" is conv1_1's.
_TORCHVISION = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}

# Hashes, or their first digits, of published files with the VGG team's weights from Caffe.
_CAFFE_SHA256 = (
    # By Justin Johnson (github.com/jcjohnson/pytorch-vgg).  torch's model zoo puts the first digits
    # of the hash into the name.
    "d01eb7cb",
    "00b39a1b",
    # vgg19-d01eb7cb.pth, rewritten by download_models.py of neural-style-pt and redistributed in
    # huggingface.co/spaces/AfrodreamsAI/afrodreams.
    "dd893d447ece014ad32d71b8d32b1e0b5c09b912a2866990c286fdeebd368d74",
)

# Names of such files; rewritten copies keep the name and have another hash.  The last is that of
# the paper's authors (github.com/leongatys/PytorchNeuralStyleTransfer).
_CAFFE_NAMES = ("vgg19-d01eb7cb.pth", "vgg16-00b39a1b.pth", "vgg_conv.pth")


@dataclass(frozen=True)
class Weights:
    """The weights of a network's convolutions.

    Attributes
    ----------
    network : str
        ``"vgg16"`` or ``"vgg19"``.
    tensors : mapping of str to Tensor
        ``"conv1_1.weight"``, ``"conv1_1.bias"`` and so on, in the precision of the file.
    source : str
        Name of the file.
    sha256 : str
        Hash of the file.
    format : {"torchvision", "caffe"}
        Conventions of the file.  `tensors` take RGB in either case.
    """

    network: str
    tensors: Mapping[str, Tensor]
    source: str
    sha256: str
    format: Format = "torchvision"

    @property
    def normalization(self) -> Normalization:
        """The normalization of images that `tensors` expect."""
        return CAFFE if self.format == "caffe" else TORCHVISION


def load(
    network: str,
    path: str | None = None,
    weights_format: Literal["auto", "torchvision", "caffe"] = "auto",
) -> Weights:
    """Load a network's weights.

    Parameters
    ----------
    network : {"vgg16", "vgg19"}
        The network.
    path : str or None
        A safetensors file or a PyTorch state dict, of the whole network or its features only;
        None: the file from `find`.  No code in the file is run.
    weights_format : {"auto", "torchvision", "caffe"}
        Input that the network was trained on: "torchvision" for normalized RGB in [0, 1], "caffe"
        for the VGG team's BGR in 0-255 minus the mean.  The tensors do not show which.  "auto":
        "caffe" if the hash is that of a published conversion, else "torchvision".

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another network, or if only its name suggests the
        Caffe format.
    """
    if path is None and weights_format == "caffe":
        raise WeightsError(
            f"weights_format is 'caffe', but {network}'s weights are torchvision's unless the "
            "setting 'weights' names a file: name one, or leave weights_format at 'auto'."
        )
    file = Path(path).expanduser() if path is not None else find(network)
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise WeightsError(f"There is no weights file {file} ({error.strerror}).") from None
    expected = None if path is not None else _known_hash(file)
    return _load(network, file, changed, expected, weights_format)


def find(network: str) -> Path:
    """Return the file with a network's weights.

    VGG-16 is part of the package.  VGG-19 is in the cache directory if `download.fetch_vgg19` was
    called, or else in the cache of torch hub.

    Raises
    ------
    WeightsError
        If there is no file; the message says how to get it.
    """
    if network == "vgg16":
        return Path(str(files("napari_nst") / "data" / _VGG16))
    kept = converted.find()
    if kept is not None:
        return kept.file
    file = Path(torch.hub.get_dir()) / "checkpoints" / VGG19_URL.rsplit("/", 1)[1]
    if not file.is_file():
        raise WeightsError(
            "VGG-19's weights are not on this machine: download them with 'napari-nst weights "
            f"fetch vgg19' (548 MB), or {VGG19_URL} to {file}; name a copy of it in the setting "
            "'weights'; or use the network 'vgg16', which needs no download."
        )
    return file


def hash_in_name(name: str) -> str | None:
    """Return the first digits of the hash that torchvision puts into a file name."""
    named = re.search(r"-([0-9a-f]{8})\.pth$", name)
    return named[1] if named else None


def read(network: str, file: Path) -> dict[str, Tensor]:
    """Read a network's tensors from a file whose hash has been verified.

    Raises
    ------
    WeightsError
        If the file does not contain them.
    """
    return _named(NETWORKS[network], file, _read(file))


def _known_hash(file: Path) -> str | None:
    """Return the hash, or its first digits, that a file from `find` must have."""
    if file.name == _VGG16:
        return _VGG16_SHA256
    kept = converted.find()
    return kept.sha256 if kept and kept.file == file else hash_in_name(file.name)


@lru_cache(maxsize=2)
def _load(
    network: str,
    file: Path,
    changed: int,
    expected: str | None,
    weights_format: Literal["auto", "torchvision", "caffe"],
) -> Weights:
    try:
        sha256 = converted.sha256_of(file)
    except OSError as error:  # a folder, or no permission
        raise WeightsError(f"{file} cannot be read ({error.strerror}).") from None
    if expected is not None and not sha256.startswith(expected):
        raise WeightsError(
            f"{file} is damaged: its sha256 is {sha256[:8]}..., and should begin with "
            f"{expected[:8]}; install napari-nst again or fetch the file again."
        )
    found = _format(file, sha256) if weights_format == "auto" else weights_format
    tensors = read(network, file)
    if found == "caffe":
        tensors["conv1_1.weight"] = _for_rgb(tensors["conv1_1.weight"])
    return Weights(network, tensors, file.name, sha256, found)


def _format(file: Path, sha256: str) -> Format:
    """Return the format of a file by its hash; "torchvision" if the hash is unknown."""
    if sha256.startswith(_CAFFE_SHA256):
        return "caffe"
    if file.name in _CAFFE_NAMES:
        raise WeightsError(
            f"{file} has the name of weights in the Caffe format, but an unknown sha256 "
            f"({sha256[:8]}...): set weights_format to 'caffe' (it takes BGR in 0-255) or "
            "'torchvision' (RGB in 0-1)."
        )
    return "torchvision"


def _for_rgb(weight: Tensor) -> Tensor:
    """Convert a kernel for BGR in 0-255 to RGB in [0, 1]; `vgg.CAFFE` subtracts the mean."""
    wide = torch.promote_types(weight.dtype, torch.float32)  # half precision ends at 65504
    return 255 * weight.to(wide).flip(1)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            return cast("dict[str, Any]", load_file(file))
        # weights_only refuses a pickle that would run code.  mmap reads only the convolutions, but
        # needs a zip file; torchvision's VGG-19 is older than that format.
        mapped = zipfile.is_zipfile(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception:  # a damaged pickle can raise anything
        state = None
    if not isinstance(state, dict):
        raise WeightsError(f"{file} is not a safetensors file or a PyTorch state dict.")
    return state


def _named(network: Network, file: Path, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state dict by layer name; check their shapes."""
    tensors = {}
    _refuse_other_networks(network, file, state)
    for name, index in zip(network.convolutions, _TORCHVISION[network.name], strict=True):
        layer = network.layer(name)
        for part, shape in (
            ("weight", (layer.out_channels, layer.in_channels, 3, 3)),
            ("bias", (layer.out_channels,)),
        ):
            tensor = next((state[key] for key in _keys(name, index, part) if key in state), None)
            if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
                raise WeightsError(
                    f"{file} does not hold {network.name}'s weights: {name}.{part} is "
                    f"{'missing' if tensor is None else 'of another shape'}."
                )
            tensors[f"{name}.{part}"] = tensor
    return tensors


def _refuse_other_networks(network: Network, file: Path, state: Mapping[str, Any]) -> None:
    """Raise if a file has a convolution that the network lacks.

    VGG-19 contains all names and shapes of VGG-16, and would otherwise be accepted as VGG-16.
    """
    for other in NETWORKS.values():
        own, foreign = (
            {
                key
                for name, index in zip(each.convolutions, _TORCHVISION[each.name], strict=True)
                for key in _keys(name, index, "weight")
            }
            for each in (network, other)
        )
        for key in sorted(foreign - own):
            tensor = state.get(key)
            # Later indices of a Sequential are the classifier, whose weights are matrices.
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 4:
                raise WeightsError(
                    f"{file} holds {other.name}'s weights, for it has {key}; choose the network "
                    f"{other.name!r}, or a file with {network.name}'s."
                )


def _keys(name: str, index: int, part: str) -> tuple[str, str, str]:
    """Return the possible names of a tensor: ours, torchvision's, and those of its features."""
    return f"{name}.{part}", f"features.{index}.{part}", f"{index}.{part}"
