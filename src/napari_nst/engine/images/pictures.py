"""Convert images from arrays to tensors and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional

from napari_nst.engine.images.arguments import as_array
from napari_nst.engine.images.regions import resized_mask
from napari_nst.engine.images.visibility import fill_hidden, premultiplied_correction
from napari_nst.errors import InputError
from napari_nst.ranges import Range, RangedImage, significant_bits, visible_values
from napari_nst.record import InputRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Picture", "init_image_like", "input_record", "resize"]

_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
_SEVERAL = "; several styles are a list of arrays, and planes go to napari_nst.stacks"
_BITS = 16  # of the widest integer type that needs no range
_MIN_SIDE = 8  # pixels: a smaller image has no texture


@dataclass(frozen=True)
class Picture:
    """A validated image.

    Attributes
    ----------
    pixels : Tensor
        Shape (1, C, H, W), C of 1 or 3, float32 in [0, 1], all finite.
    alpha : Tensor or None
        Shape (1, 1, H, W), float32 in [0, 1].
    missing : ndarray or None
        Shape (H, W): pixels that were not finite, and are filled with the mean of the others.
    record : InputRecord
        Name, shape, dtype, hash, and the values that became 0 and 1.
    """

    pixels: Tensor
    alpha: Tensor | None
    missing: NDArray[np.bool_] | None
    record: InputRecord

    @classmethod
    def from_array(
        cls,
        array: Any,
        name: str,
        nan: Literal["error", "keep"] | None = None,
        recorded: InputRecord | None = None,
    ) -> Picture:
        """Return a validated image.

        Parameters
        ----------
        array : array_like or RangedImage
            Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1]; any real
            numbers with a range.  The largest value of uint16 determines the bits in use.
        name : str
            Name for messages and the record.
        nan : {"error", "keep"}, optional
            Raise on values that are not finite, or fill them and keep their mask.  None: raise
            without offering the setting, which only applies to the content.
        recorded : InputRecord, optional
            Record of an earlier run whose interpretation of the values is used again.

        Raises
        ------
        InputError
            If it is not such an image.
        """
        given = (
            array if isinstance(array, RangedImage) else _ranged(as_array(array, name), recorded)
        )
        image = given.values
        if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            raise InputError(
                f"{name} has shape {image.shape}; it must be (height, width), "
                f"(height, width, 3) or (height, width, 4){_advice(image.shape)}."
            )
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE:
            raise InputError(
                f"{name} is {width} x {height} pixels; it must be at least "
                f"{_MIN_SIDE} x {_MIN_SIDE}."
            )
        unit = _without_hidden(given.to_unit(), nan == "keep")
        values, missing = _unit_range(unit, name, nan)
        if given.bits is not None:
            colour = values[..., :3] if image.ndim == 3 else values
            np.minimum(colour * np.float32(_share_of_bits(given.bits)), 1, out=colour)
        if image.ndim == 2:
            values = values[:, :, None]
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
        color, alpha = tensor[:, :3], tensor[:, 3:]
        record = input_record(image, name, given)
        return cls(color, alpha if alpha.shape[1] else None, missing, record)

    @cached_property
    def visible(self) -> Tensor | None:
        """Visibility of each pixel: alpha, and 0 where a value is missing.

        Shape (1, H, W), float32; None where it is 1 everywhere.
        """
        if self.alpha is None and self.missing is None:
            return None
        shape = (1, *self.shape)
        visible = torch.ones(shape) if self.alpha is None else self.alpha[0]
        if self.missing is not None:
            visible = visible.masked_fill(torch.from_numpy(self.missing), 0)
        return None if bool((visible == 1).all()) else visible

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def check_visible(self) -> None:
        """Raise if no pixel is visible.

        Raises
        ------
        InputError
            If alpha is 0 or a value is missing at every pixel.
        """
        if self.visible is not None and not bool((self.visible > 0).any()):
            what = "visible" if self.missing is None else "visible and finite"
            raise InputError(
                f"{self.record.name} is fully transparent: no pixel of it is {what}; give an "
                "image with an alpha above 0 somewhere."
            )

    @cached_property
    def filled(self) -> Tensor:
        """The pixels, invisible ones filled from those around them (`fill_hidden`)."""
        return self.pixels if self.visible is None else fill_hidden(self.pixels, self.visible)

    def visible_at(self, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """Return the visibility at a size, shape (1, height, width); None: all visible."""
        return None if self.visible is None else resized_mask(self.visible.to(device), *size)

    def masks_at(self, masks: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
        """Return masks (R, H, W) at a size, 0 at invisible pixels."""
        if self.visible is not None:
            masks = masks * self.visible
        return resized_mask(masks.to(device), *size)

    def resize(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Resample pixels of this image's size, weighted by their visibility."""
        return resize(pixels, *size, None if self.visible is None else self.visible.to(pixels))

    def assemble(self, color: Tensor) -> NDArray[np.float32]:
        """Return colours as an array with this image's alpha and missing values.

        Parameters
        ----------
        color : Tensor
            Shape (1, C, H', W'), values in [0, 1].

        Returns
        -------
        ndarray
            Shape (H', W'), (H', W', 3) or (H', W', 4), float32, a copy.
        """
        size = (color.shape[-2], color.shape[-1])
        channels = color.shape[1]
        array = np.empty((*size, channels + (self.alpha is not None)), np.float32)
        array[..., :channels] = color.detach().cpu()[0].permute(1, 2, 0).numpy()
        if self.record.bits is not None:
            array[..., :channels] = _as_share(array[..., :channels], self.record.bits)
        if self.alpha is not None:
            array[..., channels] = resize(self.alpha, *size)[0, 0].numpy()
        if self.missing is not None:
            mask = torch.from_numpy(self.missing)[None, None].float()
            array[functional.interpolate(mask, size, mode="nearest-exact")[0, 0].numpy() > 0] = (
                np.nan
            )
        return array[:, :, 0] if array.shape[2] == 1 else array


def resize(image: Tensor, height: int, width: int, visible: Tensor | None = None) -> Tensor:
    """Resample an image, bicubic with antialiasing, clamped to [0, 1].

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W).
    height, width : int
        The new size; an image of that size is returned unchanged.
    visible : Tensor, optional
        Shape (1, H, W), values in [0, 1]: weight of each pixel.  None: all 1.
    """
    if tuple(image.shape[-2:]) == (height, width):
        return image
    resampled = functional.interpolate(image, (height, width), mode="bicubic", antialias=True)
    if visible is not None:
        resampled += premultiplied_correction(image, visible, height, width)
    return resampled.clamp_(0, 1)


def _advice(shape: tuple[int, ...]) -> str:
    """Return advice on how to turn an array of this shape into an image, if it is obvious."""
    *before, first, height, width = (0, 0, 0, *shape)
    if len(shape) == 3 and shape[2] == 1:
        return ": leave out the last axis, image[..., 0]"
    if len(shape) in (3, 4) and first in (1, 3, 4) and min(height, width) >= _MIN_SIDE:
        if len(shape) == 4 and before[-1] != 1:
            return _SEVERAL
        index = "[0]" * (len(shape) - 3)
        if first == 1:
            return f": leave out the axes of one, image{index}[0]"
        return f": its channels come first, put them last with numpy.moveaxis(image{index}, 0, -1)"
    return _SEVERAL if len(shape) == 4 or (len(shape) == 3 and width >= _MIN_SIDE) else ""


def _without_hidden(image: NDArray[Any], keep: bool) -> NDArray[Any]:
    """Return an image with 0 for colours under alpha 0 that lie outside [0, 1].

    With `keep`, missing values stay.
    """
    if image.shape[2:] != (4,) or image.dtype.kind != "f":
        return image
    unfit = ~((image >= 0) & (image <= 1)) & (image[..., 3:] == 0)
    if keep:
        unfit &= np.isfinite(image)
    return np.where(unfit, 0, image) if unfit.any() else image


def _unit_range(
    image: NDArray[Any], name: str, nan: Literal["error", "keep"] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return the values as float32 in [0, 1], and a mask of pixels that were not finite."""
    if image.dtype.name in _FULL_SCALE:
        return image.astype(np.float32) / np.float32(_FULL_SCALE[image.dtype.name]), None
    if image.dtype.kind != "f":
        raise InputError(
            f"{name} has dtype {image.dtype}; it must be uint8, uint16, or floats in [0, 1]."
        )
    finite = np.isfinite(image)
    with np.errstate(over="ignore"):  # values beyond float32 are out of range anyway
        values = image.astype(np.float32)
    missing: NDArray[np.bool_] | None = None
    if not finite.all():
        if nan != "keep" or not finite.any():
            count = int(np.count_nonzero(~finite))
            bad, it = (
                ("1 value that is not finite", "it")
                if count == 1
                else (f"{count} values that are not finite", "them")
            )
            advice = f"; replace {it}"
            if not finite.any():  # nothing to fill them with
                advice = " and no others; give another image"
            elif nan == "error":
                keep = "nan='keep' (in the panel: Missing pixels)"
                advice += f", or choose {keep} to fill {it} for the run and put {it} back"
            raise InputError(f"{name} has {bad}{advice}.")
        missing = np.logical_not(finite if finite.ndim == 2 else finite.all(axis=2))
        values = np.where(finite, values, values[finite].mean())
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise InputError(
            f"{name} has values from {low:g} to {high:g}; floats must lie in [0, 1]: "
            "rescale them first."
        )
    return values, missing


def input_record(image: NDArray[Any], name: str, given: RangedImage | None = None) -> InputRecord:
    """Return the record of an array and its range."""
    digest = hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    span = None if given is None else given.range
    return InputRecord(
        name=name,
        shape=image.shape,
        dtype=image.dtype.name,
        sha256=digest,
        range=None if span is None else (span.low, span.high),
        bits=None if given is None else given.bits,
    )


def init_image_like(init_image: Any, content: InputRecord) -> Any:
    """Return an initial image whose values are interpreted like the content's if they fit.

    Parameters
    ----------
    init_image : array_like or RangedImage
        The image.
    content : InputRecord
        Record of the content.  If it is uint16, an initial image in uint16 or floats (such as an
        earlier result) whose values fit into the content's bits gets the same bits.
    """
    if (
        isinstance(init_image, RangedImage)
        or content.dtype != "uint16"
        or content.range is not None
    ):
        return init_image
    image = np.asarray(init_image)
    full = {"u": _FULL_SCALE["uint16"], "f": 1.0}.get(image.dtype.kind)
    if full is None or image.dtype == np.uint8 or not image.size:
        return init_image
    share = 1.0 if content.bits is None else 1 / _share_of_bits(content.bits)
    values = visible_values(image)
    within = float(values[np.isfinite(values)].max(initial=0)) <= full * share * (1 + 1e-6)
    return RangedImage(image, bits=content.bits) if within else init_image


def _ranged(image: NDArray[Any], recorded: InputRecord | None) -> RangedImage:
    """Return an array with its range or bits: as recorded, or from its largest value."""
    if recorded is not None:
        span = None if recorded.range is None else Range(*recorded.range)
        return RangedImage(image, span, recorded.bits)
    if image.dtype.name != "uint16" or image.ndim not in (2, 3) or not image.size:
        return RangedImage(image)
    bits = significant_bits(int(visible_values(image).max(initial=0)))
    return RangedImage(image, bits=bits if bits < _BITS else None)


def _share_of_bits(bits: int) -> float:
    """Return the ratio of the largest values of 16 and of fewer bits."""
    return float(_FULL_SCALE["uint16"] / (2**bits - 1))


def _as_share(unit: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Convert values in [0, 1] of fewer bits to those of 16 bits, snapping to whole values."""
    values = unit.astype(np.float64) * (2**bits - 1)
    whole = np.rint(values)
    # Rounding errors are smaller than this: pixels kept from the content become exact again.
    values = np.where(np.abs(values - whole) < 2e-3, whole, values).astype(np.float32)
    return np.asarray(values / np.float32(_FULL_SCALE["uint16"]))
