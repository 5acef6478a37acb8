"""State dicts of VGG networks with constant kernels, whose files have a few kilobytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from torch import Tensor

__all__ = ["CHANNELS", "INDICES", "NAMES", "constant_state_dict", "publish_vgg19"]

# Names, output channels, and indices of the convolutions in torchvision's `features`.
NAMES = {
    network: [f"conv{b}_{i}" for b, count in enumerate(counts, 1) for i in range(1, count + 1)]
    for network, counts in {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}.items()
}
CHANNELS = {
    "vgg16": [64, 64, 128, 128, *[256] * 3, *[512] * 6],
    "vgg19": [64, 64, 128, 128, *[256] * 4, *[512] * 8],
}
INDICES = {
    "vgg16": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    "vgg19": [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
}


def constant_state_dict(
    network: str, key: str = "features.{index}", scale: float = 1.0
) -> dict[str, Tensor]:
    """Return a state dict whose k-th kernel is k + 0.5 everywhere, and the bias its negative.

    Parameters
    ----------
    network : {"vgg16", "vgg19"}
        The network.
    key : str
        Prefix of the keys, with the fields "index" and "name".
    scale : float
        Factor of all values.
    """
    found, in_channels = {}, 3
    parts = zip(NAMES[network], CHANNELS[network], INDICES[network], strict=True)
    for k, (name, out_channels, index) in enumerate(parts):
        prefix = key.format(index=index, name=name)
        value = torch.tensor([scale * (k + 0.5)])  # stored once, however often it is repeated
        found[f"{prefix}.weight"] = value.expand(out_channels, in_channels, 3, 3)
        found[f"{prefix}.bias"] = (-value).expand(out_channels)
        in_channels = out_channels
    return found


def publish_vgg19(
    server: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, scale: float = 1.0
) -> str:
    """Let the file server have a VGG-19 like torchvision's; return its file name."""
    file = folder / "published.pth"
    classifier = {"classifier.0.bias": torch.ones(3)}
    state = constant_state_dict("vgg19", scale=scale) | classifier
    torch.save(state, file, _use_new_zipfile_serialization=False)
    server.content = file.read_bytes()
    name = f"vgg19-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    url = f"{server.url}/models/{name}"
    monkeypatch.setattr("napari_nst.engine.network.weights.VGG19_URL", url)
    return name
