"""Draw a contact sheet: images in rows and columns with headings."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Tile", "draw_sheet", "shrink"]

_WHITE, _BLACK, _GREY, _EMPTY = (255, 255, 255), (24, 24, 24), (84, 84, 84), (236, 236, 236)
_MAX_LINES = 3
_MIN_WIDTH = 8  # of a text, in heights of its letters: "style weight" fits


@dataclass(frozen=True)
class Tile:
    """A cell of a contact sheet.

    Attributes
    ----------
    picture : ndarray or None
        As `shrink` returns it; None draws an empty box.
    note : str
        Text below the picture, or in the empty box.
    title : str
        Text above the picture.
    """

    picture: NDArray[np.uint8] | None
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
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.shape[2] == 4:
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    picture = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    scale = min(height / picture.height, width / picture.width)
    size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)


def draw_sheet(
    sources: Sequence[tuple[NDArray[Any], str]],
    about: Sequence[str],
    tiles: Sequence[Sequence[Tile]],
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
        Lines of text beside them.
    tiles : sequence of sequence of Tile
        The cells, row by row; the last row may be shorter.
    rows, columns : sequence of str
        The headings, or none.
    box : tuple of int
        Height and width of the largest picture.
    """
    large, small = max(15, round(max(box) / 16)), max(13, round(max(box) / 20))
    gap, cell = large, max(box[1], _MIN_WIDTH * large)
    headings = [_text(heading, large, _MIN_WIDTH * large) for heading in rows]
    left = max((heading.width for heading in headings), default=0)

    def line(
        blocks: Sequence[Image.Image], down: float, after: int, heading: Image.Image | None = None
    ) -> Image.Image:
        """Return blocks above their columns, with a row's heading and white below."""
        height = max(block.height for block in (*blocks, *([heading] if heading else [])))
        placed = [_place(block, cell, height, 0.5, down) for block in blocks]
        if headings:
            placed.insert(0, _place(heading or _text("", large, 1), left, height, 0, 0.5))
        return ImageOps.expand(_join(placed, gap), (0, 0, 0, after if height else 0), _WHITE)

    grid = []
    if columns:
        grid.append(line([_text(heading, large, cell) for heading in columns], 1, gap // 2))
    for number, row in enumerate(tiles):
        pictures = [
            _place(_text(tile.note, small, box[1], _GREY, _EMPTY), *box[::-1], 0.5, 0.5, _EMPTY)
            if tile.picture is None
            else Image.fromarray(tile.picture)
            for tile in row
        ]
        notes = [
            _text(tile.note if tile.picture is not None else "", small, cell, _GREY) for tile in row
        ]
        grid += [
            line([_text(tile.title, large, cell) for tile in row], 1, gap // 2),
            line(pictures, 0, gap // 4, headings[number] if headings else None),
            line(notes, 0, gap),
        ]
    body = _join(grid, 0, downwards=True)
    width = max(body.width, 2 * _MIN_WIDTH * large)
    side = max(96, round(max(box) * 0.6))
    shown = [_source(image, caption, side, small) for image, caption in sources]
    head = _flow(shown, about, small, gap, width)
    sheet = ImageOps.expand(_join([*head, body], gap, downwards=True), gap, _WHITE)
    return np.asarray(sheet, np.float32) / np.float32(255)


def _source(image: NDArray[Any], caption: str, side: int, size: int) -> Image.Image:
    """Return a small image with its caption below."""
    picture = Image.fromarray(shrink(image, *(min(side, length) for length in image.shape[:2])))
    text = _text(caption, size, max(picture.width, _MIN_WIDTH * size))
    return _join([picture, text], size // 4, downwards=True)


def _flow(
    blocks: Sequence[Image.Image], about: Sequence[str], size: int, gap: int, width: int
) -> list[Image.Image]:
    """Return blocks and then text in lines of at most a width."""
    lines: list[list[Image.Image]] = [[]]
    room = width
    for block in blocks:
        if lines[-1] and block.width > room:
            lines.append([])
            room = width
        lines[-1].append(block)
        room -= block.width + gap
    if room < 2 * _MIN_WIDTH * size:
        lines.append([])
        room = width
    texts = [_text(text, size, room) for text in about]
    lines[-1].extend([_join(texts, size // 4, downwards=True)] if texts else [])
    return [_join(line, gap) for line in lines if line]


def _text(
    text: str,
    size: int,
    width: int,
    ink: tuple[int, int, int] = _BLACK,
    ground: tuple[int, int, int] = _WHITE,
) -> Image.Image:
    """Return a text wrapped to a width, shortened to a number of lines."""
    font = ImageFont.load_default(size)
    for characters in range(min(len(text), width), 0, -1):
        lines = textwrap.wrap(text, characters, max_lines=_MAX_LINES, placeholder="…")
        longest = max(map(font.getlength, lines), default=0)
        if longest + 2 <= width or characters == 1:
            break
    else:
        return Image.new("RGB", (1, 0), _WHITE)
    step = sum(font.getmetrics())  # type: ignore[union-attr]
    block = Image.new("RGB", (int(longest) + 2, step * len(lines)), ground)
    for number, line in enumerate(lines):
        ImageDraw.Draw(block).text((1, number * step), line, ink, font)
    return block


def _place(
    block: Image.Image,
    width: int,
    height: int,
    across: float,
    down: float,
    ground: tuple[int, int, int] = _WHITE,
) -> Image.Image:
    """Return a block at a share of the free width and height of a larger one."""
    canvas = Image.new("RGB", (width, height), ground)
    at = int((width - block.width) * across), int((height - block.height) * down)
    canvas.paste(block, at)
    return canvas


def _join(blocks: Sequence[Image.Image], gap: int, *, downwards: bool = False) -> Image.Image:
    """Return blocks side by side or, downwards, one below the other."""
    lengths = [block.height if downwards else block.width for block in blocks]
    breadth = max(block.width if downwards else block.height for block in blocks)
    length = sum(lengths) + gap * (len(blocks) - 1)
    canvas = Image.new("RGB", (breadth, length) if downwards else (length, breadth), _WHITE)
    at = 0
    for block, own in zip(blocks, lengths, strict=True):
        canvas.paste(block, (0, at) if downwards else (at, 0))
        at += own + gap
    return canvas
