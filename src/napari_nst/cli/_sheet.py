"""Draw a contact sheet: lines of pictures and texts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Line", "draw_sheet", "to_picture"]

# A text over all columns, or a text, a picture or an empty box in each column.
Line: TypeAlias = "str | Sequence[str | Image.Image | None]"

_LONGEST_SIDE = 1024  # pixels of a picture: the sheet is looked at as a whole
_MIN_WIDTH = 128  # pixels of a column
_MAX_LINES = 6


def to_picture(image: NDArray[Any]) -> Image.Image:
    """Return an image as RGB over white, made smaller if it is large.

    `image` has shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].
    """
    white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    values = np.nan_to_num(image / white)
    if values.shape[2:] == (4,):
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    picture = Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return picture


def draw_sheet(lines: Sequence[Line], box: tuple[int, int]) -> NDArray[np.float32]:
    """Return a sheet, (H, W, 3) in [0, 1].

    Pictures are scaled to the width and height of `box`. Texts are wrapped and shortened.
    """
    size, width = max(15, box[0] // 16), max(_MIN_WIDTH, box[0])
    whole = max(len(line) for line in lines if not isinstance(line, str)) * (width + size)
    sheet = Image.new("RGB", (size + whole, size), "white")
    for line in (line for line in lines if line == "" or any(part != "" for part in line)):
        parts, step = ([line], whole) if isinstance(line, str) else (line, width + size)
        blocks = [_block(part, box, step - size, size) for part in parts]
        top, height = sheet.height, max(block.height for block in blocks)
        sheet = ImageOps.expand(sheet, (0, 0, 0, height + size // 3), "white")
        for column, block in enumerate(blocks):
            indent = 0 if isinstance(line, str) else (step - size - block.width) // 2
            x, y = size + column * step + indent, top + (height - block.height) // 2
            sheet.paste(block, (x, y))
    return np.asarray(sheet, np.float32) / np.float32(255)


def _block(
    part: str | Image.Image | None, box: tuple[int, int], width: int, size: int
) -> Image.Image:
    """Return a picture or an empty box scaled to `box`, or a text wrapped to a width."""
    if not isinstance(part, str):
        return ImageOps.contain(part or Image.new("RGB", box, "gainsboro"), box)
    font = ImageFont.load_default(size)
    for characters in range(width, 0, -1):
        lines = textwrap.wrap(part, characters, max_lines=_MAX_LINES, placeholder="…")
        if all(font.getlength(line) + 2 <= width for line in lines):
            break
    text = "\n".join(lines)
    ink = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((1, 0), text, font)
    block = Image.new("RGB", (int(ink[2]) + 1, int(ink[3]) + 1), "white")
    ImageDraw.Draw(block).multiline_text((1, 0), text, "black", font, align="center")
    return block
