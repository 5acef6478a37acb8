"""The frames of an animated GIF, PNG or WebP as a stack."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import GifImagePlugin, Image

from napari_nst.files._pillow import open_picture, open_picture_stream, without_pillow_limits
from napari_nst.files._stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ANIMATION_FORMATS", "AnimationStack", "is_animation"]

ANIMATION_FORMATS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}

_PALETTE_SAMPLES = 2**16  # pixels of all frames from which the palette is made
_OPAQUE = 128  # alpha from which a pixel of a GIF is opaque
_TRANSPARENT = 255  # index in the palette of a GIF
_CLEAR = 2  # disposal of a frame: nothing of it is seen through the next one


def is_animation(path: Path) -> bool:
    """Return whether a file is an animation in the format of its suffix."""
    format_name = ANIMATION_FORMATS.get(path.suffix.lower())
    if format_name is None:
        return False
    with open_picture(path) as image:
        return image.format == format_name and getattr(image, "n_frames", 1) > 1


class AnimationStack(Stack):
    """The frames of an animation as they are shown, RGB or RGBA of 8 bits.

    Frames are complete: Pillow draws the part that a frame stores over the frame before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")
        try:
            self._open()
            self._loop: int | None = self._image.info.get("loop")
            self._has_cover = bool(self._image.info.get("default_image"))
            self._durations: list[float] = []
            transparent = False
            for k in range(self._image.n_frames):
                alpha = np.asarray(self._frame(k).getchannel("A"))
                transparent = transparent or int(alpha.min()) < 255
                self._durations.append(self._image.info.get("duration") or 0)
        except BaseException:
            self.close()
            raise
        self._mode: Literal["RGB", "RGBA"] = "RGBA" if transparent else "RGB"
        self.axes = ("frame", "y", "x", "s")
        size = (self._image.height, self._image.width)
        self.shape = (len(self._durations), *size, len(self._mode))
        self.dtype = np.dtype(np.uint8)
        self.sizes, self.units = {}, {}

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _open(self) -> None:
        self._stream.seek(0)
        with without_pillow_limits():
            self._image: Any = open_picture_stream(self.path, self._stream)

    def _frame(self, k: int) -> Image.Image:
        if k < self._image.tell():  # Pillow cannot go back in all files
            self._open()
        self._image.seek(k)
        frame: Image.Image = self._image.convert("RGBA")
        return frame

    def _read(self, k: int) -> NDArray[Any]:
        return np.asarray(self._frame(k).convert(self._mode))

    def _write(self, path: Path, planes: Iterable[NDArray[Any]]) -> None:
        if self._image.format == "GIF":
            _write_gif(path, planes, self._durations, self._loop)
            return
        first, *others = (Image.fromarray(plane) for plane in planes)
        loop = {} if self._loop is None else {"loop": self._loop}
        cover = {"default_image": True} if self._has_cover else {}
        first.save(
            path,
            self._image.format,
            save_all=True,
            append_images=others,
            duration=self._durations[self._has_cover :],
            lossless=True,
            **loop,
            **cover,
        )


def _write_gif(
    path: Path, planes: Iterable[NDArray[Any]], durations: list[float], loop: int | None
) -> None:
    """Write a GIF whose frames share one palette, so that still parts do not flicker.

    Pillow's own way to save animations makes a palette for each frame, and leaves out frames that
    are equal to the one before.
    """
    with tempfile.TemporaryFile() as store, path.open("wb") as stream:
        shape: tuple[int, ...] = ()
        samples = [np.zeros((1, 3), np.uint8)]  # at least one, if all are transparent
        for plane in planes:
            store.write(plane.tobytes())
            shape = plane.shape
            step = -(-shape[0] * shape[1] * len(durations) // _PALETTE_SAMPLES)
            visible = plane[plane[..., 3] >= _OPAQUE] if shape[2] == 4 else plane.reshape(-1, 3)
            samples.append(visible[::step, :3])
        transparent = shape[2] == 4
        colours = Image.fromarray(np.concatenate(samples)[None])
        # Without k-means, the palette lacks colours, which dithering replaces by stray points.
        palette = colours.quantize(_TRANSPARENT if transparent else 256, kmeans=1)
        options: dict[str, Any] = {}
        if transparent:
            options = {"transparency": _TRANSPARENT, "disposal": _CLEAR}
        store.seek(0)
        for k, duration in enumerate(durations):
            plane = np.frombuffer(store.read(math.prod(shape)), np.uint8).reshape(shape)
            frame = _with_palette(plane, palette)
            if k == 0:
                info = {"loop": loop, "duration": duration, **options}
                stream.writelines(GifImagePlugin.getheader(frame, info=info)[0])
            stream.writelines(GifImagePlugin.getdata(frame, duration=duration, **options))
        stream.write(b";")


def _with_palette(plane: NDArray[np.uint8], palette: Image.Image) -> Image.Image:
    """Return a frame as indices of a palette; dithered, still parts would flicker."""
    frame = Image.fromarray(plane[..., :3]).quantize(palette=palette, dither=Image.Dither.NONE)
    if plane.shape[2] == 4:
        frame.paste(_TRANSPARENT, mask=Image.fromarray(plane[..., 3] < _OPAQUE))
    return frame
