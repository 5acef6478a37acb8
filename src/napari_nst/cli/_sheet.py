"""Draw a contact sheet: images in rows and columns with headings."""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Thumbnail", "draw_sheet", "shrink"]

_WHITE, _BLACK, _GREY, _EMPTY = (255, 255, 255), (24, 24, 24), (84, 84, 84), (236, 236, 236)
_MAX_LINES = 3
_MIN_WIDTH = 8  # of a text, in heights of its letters: "style weight" fits


class Thumbnail(NamedTuple):
    """A cell of a contact sheet: a title, an image from `shrink` or an empty box, and a note."""

    image: NDArray[np.uint8] | None
    note: str
    title: str = ""


def shrink(image: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image as RGB over white, scaled to fit a box.

    Parameters
    ----------
    image : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].
    height, width : int
        Of the box, in pixels.
    """
    full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    values = np.nan_to_num(image.astype(np.float32) / full).clip(0, 1)
    if values.ndim == 3 and values.shape[2] == 4:
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    picture = Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")
    scale = min(height / picture.height, width / picture.width)
    size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def draw_sheet(
    sources: Sequence[tuple[NDArray[Any], str]],
    about: Sequence[str],
    thumbnails: Sequence[Sequence[Thumbnail]],
    rows: Sequence[str],
    columns: Sequence[str],
    box: tuple[int, int],
) -> NDArray[np.float32]:
    """Return a contact sheet, (H, W, 3) in [0, 1].

    Parameters
    ----------
    sources : sequence of (ndarray, str)
        Content and styles with their captions, shown small at the top.
    about : sequence of str
        Lines of text beside or below them.
    thumbnails : sequence of sequence of Thumbnail
        The cells, row by row; the last row may be shorter.
    rows, columns : sequence of str
        The headings, or none.
    box : tuple of int
        Height and width of the largest image.
    """
    large, small = max(15, round(max(box) / 16)), max(13, round(max(box) / 20))
    column = max(box[1], _MIN_WIDTH * large)
    blank = [Image.new("RGB", (1, 0))] * bool(rows)  # above and below the headings of rows
    lines = [blank + [_text(heading, large, column) for heading in columns]]
    for number, row in enumerate(thumbnails):
        notes = [thumbnail.note if thumbnail.image is not None else "" for thumbnail in row]
        lines += [
            blank + [_text(thumbnail.title, large, column) for thumbnail in row],
            [_text(heading, large, _MIN_WIDTH * large) for heading in rows[number : number + 1]]
            + [_image_or_box(thumbnail, small, box) for thumbnail in row],
            blank + [_text(note, small, column, _GREY) for note in notes],
            blank + [Image.new("RGB", (column, large // 2), _WHITE)] * len(row),
        ]
    body = _table(lines, large, large // 4)

    side = max(96, round(max(box) * 0.6))
    shown = [_source(image, caption, side, small) for image, caption in sources]
    width = max(body.width, 2 * _MIN_WIDTH * large)
    room = width - sum(block.width + large for block in shown)
    beside = room >= 2 * _MIN_WIDTH * small
    texts = [[_text(text, small, room if beside else width)] for text in about]
    text = _table(texts, 0, small // 4, align=0)
    per_line = max(1, width // (side + large))
    head = [shown[start : start + per_line] for start in range(0, len(shown), per_line)]
    head = [[*shown, text]] if beside else [*head, [text]]
    parts = [*(_table([line], large, 0, align=0) for line in head), body]
    sheet = _table([[part] for part in parts], 0, large, align=0)
    return np.asarray(ImageOps.expand(sheet, large, _WHITE), np.float32) / np.float32(255)


def _image_or_box(thumbnail: Thumbnail, size: int, box: tuple[int, int]) -> Image.Image:
    """Return the image of a thumbnail, or its note in an empty box."""
    if thumbnail.image is not None:
        return Image.fromarray(thumbnail.image)
    note = _text(thumbnail.note, size, box[1], _GREY, _EMPTY)
    canvas = Image.new("RGB", box[::-1], _EMPTY)
    canvas.paste(note, ((box[1] - note.width) // 2, (box[0] - note.height) // 2))
    return canvas


def _source(image: NDArray[Any], caption: str, side: int, size: int) -> Image.Image:
    """Return a small image with its caption below."""
    picture = Image.fromarray(shrink(image, *(min(side, length) for length in image.shape[:2])))
    text = _text(caption, size, max(picture.width, _MIN_WIDTH * size))
    return _table([[picture], [text]], 0, size // 4, align=0)


def _text(
    text: str,
    size: int,
    width: int,
    ink: tuple[int, int, int] = _BLACK,
    ground: tuple[int, int, int] = _WHITE,
) -> Image.Image:
    """Return a text wrapped to a width, shortened to a number of lines."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    for characters in range(min(len(text), width), 0, -1):
        lines = textwrap.wrap(text, characters, max_lines=_MAX_LINES, placeholder="…")
        if max(map(font.getlength, lines), default=0) + 2 <= width:
            break
    longest = max(map(font.getlength, lines), default=0)
    step = sum(font.getmetrics())  # type: ignore[union-attr]
    block = Image.new("RGB", (int(longest) + 2, step * len(lines)), ground)
    for number, line in enumerate(lines):
        ImageDraw.Draw(block).text((1, number * step), line, ink, font)
    return block


def _table(
    lines: Sequence[Sequence[Image.Image]], gap_x: int, gap_y: int, align: float = 0.5
) -> Image.Image:
    """Return blocks in rows and columns; `align` is the share of free space before a block."""
    lines = [line for line in lines if any(block.height for block in line)]
    widths = [max(block.width for block in column if block) for column in zip_longest(*lines)]
    heights = [max(block.height for block in line) for line in lines]
    size = sum(widths) + gap_x * (len(widths) - 1), sum(heights) + gap_y * (len(heights) - 1)
    table = Image.new("RGB", (max(size[0], 0), max(size[1], 0)), _WHITE)
    top = 0
    for line, height in zip(lines, heights, strict=True):
        left = 0
        for block, width in zip(line, widths, strict=False):
            x, y = (width - block.width) * align, (height - block.height) * align
            table.paste(block, (left + int(x), top + int(y)))
            left += width + gap_x
        top += height + gap_y
    return table
