"""Helpers for the tests of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import pytest

from napari_nst.errors import InputError
from napari_nst.files import read_image, read_labels, read_metadata, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import zarr

PICTURE_READERS: list[Callable[[Path], Any]] = [read_image, read_labels, read_metadata, shape_of]

D65 = (0.3127, 0.3290)
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def error_of(call: Callable[..., Any], path: Path, *arguments: Any) -> str:
    """Return the message of the InputError that a call raises, without the path in front."""
    with pytest.raises(InputError) as caught:
        call(path, *arguments)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert "\n" not in message
    return message.removeprefix(f"{path} ")


def icc_profile(
    primaries: tuple[tuple[float, float], ...] = DISPLAY_P3, gamma: float = 1.8, kind: str = "rgb"
) -> bytes:
    """Return an ICC profile with a gamma curve; a kind of "gray" has no primaries."""
    flat = [value for pair in primaries for value in pair] if kind == "rgb" else None
    profile: bytes = imagecodecs.cms_profile(kind, whitepoint=D65, primaries=flat, gamma=gamma)
    return profile


def set_ome_attributes(group: zarr.Group, version: int, attributes: dict[str, Any]) -> None:
    """Set attributes of OME-Zarr, which Zarr 3 nests under "ome"."""
    group.attrs.update(attributes if version == 2 else {"ome": attributes})
