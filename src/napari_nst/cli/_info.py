"""Report versions, devices and weights of this machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from napari_nst.cli._gpu import unused_gpu
from napari_nst.engine.network import weights
from napari_nst.engine.optim.sizes import automatic_size
from napari_nst.engine.resources.device import Device
from napari_nst.errors import WeightsError
from napari_nst.networks import NETWORKS
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["installed_qt", "report"]

_QT = ("PyQt6", "PySide6", "PyQt5", "PySide2")
_MISSING = "not installed"


def report() -> Iterator[str]:
    """Yield the lines of ``napari-nst info``."""
    yield _line("napari-nst", _version("napari-nst"))
    yield _line("python", f"{platform.python_version()} on {platform.platform()}")
    yield _line("torch", torch.__version__)  # unlike the metadata, this names the build
    for package in ("napari", "numpy"):
        yield _line(package, _version(package))
    missing = 'none; napari needs one: install "napari[pyqt6]"'
    yield _line("Qt", ", ".join(installed_qt()) or missing)
    yield ""
    chosen = Device.from_settings(StyleTransferSettings())
    for name in _devices():
        device = Device.from_name(name)
        first = (device.torch_device.type, device.torch_device.index or 0) == (
            chosen.torch_device.type,
            0,
        )
        note = ', taken by device "auto"' if first else ""
        yield _line(name, f"{device.name}, {device.free_bytes / 2**30:.1f} GiB free{note}")
    yield _line("threads", str(torch.get_num_threads()))
    yield _line("precision", chosen.precision)
    largest = automatic_size(chosen.torch_device.type)
    yield _line("size", f'at most {largest} pixels with size "auto"')
    unused = unused_gpu()
    if unused is not None:
        yield _line("note", unused)
    yield ""
    for network in NETWORKS:
        try:
            yield _line(network, str(weights.find(network)))
            yield _line("", f"sha256 {weights.load(network).sha256}")
        except WeightsError as error:
            yield _line(network, str(error))


def installed_qt() -> list[str]:
    """Return the Qt bindings that are installed, with their versions."""
    versions = {name: _version(name) for name in _QT}
    return [f"{name} {number}" for name, number in versions.items() if number != _MISSING]


def _devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _line(name: str, value: str) -> str:
    return f"{name:<12}{value}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING
