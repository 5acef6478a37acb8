"""A contact sheet: pictures in rows and columns, with headings, and what they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Tile", "draw_sheet", "shrink"]

_GROUND, _INK, _QUIET, _EMPTY = (255, 255, 255), (24, 24, 24), (84, 84, 84), (236, 236, 236)
_MOST_LINES = 3
_NARROWEST = 8  # of a column, in heights of its letters: "style weight" fits


@dataclass(frozen=True)
class Tile:
    """A place on a sheet.

    Attributes
    ----------
    picture : ndarray or None
        As `shrink` returns it; None leaves the place empty.
    note : str
        Below the picture or, where there is none, in its place.
    title : str
        Above the picture, where the column has no heading.
    """

    picture: NDArray[np.uint8] | None
    note: str
    title: str = ""


def shrink(image: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture as a sheet shows it: RGB over white, as large as fits.

    Parameters
    ----------
    image : ndarray
        Shape (H, W), (H, W, 3) or (H, W, 4); uint8, uint16, or floats in [0, 1].
    height, width : int
        What it is to fit in, in pixels.
    """
    full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    values = np.nan_to_num(image.astype(np.float32) / full).clip(0, 1)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.shape[2] == 4:
        values = 1 - values[..., 3:] * (1 - values[..., :3])
    picture = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    share = min(height / picture.height, width / picture.width)
    size = max(round(picture.width * share), 1), max(round(picture.height * share), 1)
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
        What the pictures were made of, and what to call it; they are shown small.
    about : sequence of str
        Lines of text beside them.
    tiles : sequence of sequence of Tile
        The pictures, row by row; the last row may be shorter.
    rows, columns : sequence of str
        The headings, or none.
    box : tuple of int
        Height and width of the largest picture.
    """
    return _Sheet(sources, about, tiles, rows, columns, box).draw()


class _Text:
    """A text, wrapped and shortened to a width and a number of lines."""

    def __init__(self, text: str, size: int, width: int, lines: int = _MOST_LINES) -> None:
        self.font = ImageFont.load_default(size)
        self.lines = self._wrap(text, width, lines)
        self.step = sum(self.font.getmetrics()) if self.lines else 0  # type: ignore[union-attr]

    @property
    def height(self) -> int:
        return len(self.lines) * self.step

    @property
    def width(self) -> int:
        return max((int(self.font.getlength(line)) + 1 for line in self.lines), default=0)

    def _wrap(self, text: str, width: int, most: int) -> list[str]:
        lines: list[str] = []
        words = text.split()
        while words:
            taken = 1
            while taken < len(words) and self._fits(" ".join(words[: taken + 1]), width):
                taken += 1
            if len(lines) == most - 1 and taken < len(words):
                line = " ".join(words[:taken])
                while line and not self._fits(line + "…", width):
                    line = line[:-1].rstrip()
                return [*lines, line.rstrip(" ,") + "…"]
            lines.append(self._shorten(" ".join(words[:taken]), width))
            del words[:taken]
        return lines

    def _fits(self, text: str, width: int) -> bool:
        return self.font.getlength(text) <= width

    def _shorten(self, text: str, width: int) -> str:
        """Leave out the middle of a text that is too long: the end of a name says much."""
        if self._fits(text, width):
            return text
        kept = len(text) - 1
        while kept > 2 and not self._fits(self._without_middle(text, kept), width):
            kept -= 1
        return self._without_middle(text, kept)

    @staticmethod
    def _without_middle(text: str, kept: int) -> str:
        end = kept // 2
        return f"{text[: kept - end]}…{text[len(text) - end :]}"

    def draw(self, canvas: ImageDraw.ImageDraw, x: float, y: float, anchor: str, ink: Any) -> None:
        """Draw the lines from the top down; `anchor` is "l" or "m": what x is of them."""
        for number, line in enumerate(self.lines):
            canvas.text((x, y + number * self.step), line, ink, self.font, anchor=f"{anchor}a")


class _Sheet:
    """The measures of a sheet, taken before it is drawn."""

    def __init__(
        self,
        sources: Sequence[tuple[NDArray[Any], str]],
        about: Sequence[str],
        tiles: Sequence[Sequence[Tile]],
        rows: Sequence[str],
        columns: Sequence[str],
        box: tuple[int, int],
    ) -> None:
        longest = max(box)
        self.large, self.small = max(15, round(longest / 16)), max(13, round(longest / 20))
        self.gap = self.large
        self.box = box
        self.cell = max(box[1], _NARROWEST * self.large)  # the width of a column
        self.tiles = tiles
        self.rows = [_Text(heading, self.large, _NARROWEST * self.large) for heading in rows]
        self.columns = [_Text(heading, self.large, self.cell) for heading in columns]
        self.titles = [[_Text(tile.title, self.large, self.cell) for tile in row] for row in tiles]
        self.notes = [[_Text(tile.note, self.small, self.cell) for tile in row] for row in tiles]
        self.left = self.gap
        if self.rows:
            self.left += max(text.width for text in self.rows) + self.gap
        count = max(map(len, tiles))
        grid = self.left + count * (self.cell + self.gap)
        self.width = max(grid, 2 * self.gap + 2 * _NARROWEST * self.large)
        self.head: list[tuple[int, int, Image.Image | _Text]] = []
        self.top = self._place_head(sources, about) + self.gap

    def draw(self) -> NDArray[np.float32]:
        sheet = Image.new("RGB", (self.width, self._height()), _GROUND)
        canvas = ImageDraw.Draw(sheet)
        for x, y, item in self.head:
            if isinstance(item, _Text):
                item.draw(canvas, x, y, "l", _INK)
            else:
                sheet.paste(item, (x, y))
        for column, text in enumerate(self.columns):
            y = self.top + self._heading_height() - self.gap // 2 - text.height
            text.draw(canvas, self._centre(column), y, "m", _INK)
        y = self.top + self._heading_height()
        for row, tiles in enumerate(self.tiles):
            y += self._title_height(row)
            high = self._picture_height(row)
            if self.rows:
                text = self.rows[row]
                text.draw(canvas, self.gap, y + (high - text.height) // 2, "l", _INK)
            for column, tile in enumerate(tiles):
                centre = self._centre(column)
                title, note = self.titles[row][column], self.notes[row][column]
                title.draw(canvas, centre, y - title.height - self.gap // 2, "m", _INK)
                if tile.picture is None:
                    self._draw_empty(canvas, centre, y, note)
                    continue
                picture = Image.fromarray(tile.picture)
                sheet.paste(picture, (int(centre - picture.width / 2), y))
                note.draw(canvas, centre, y + high + self.gap // 4, "m", _QUIET)
            y += high + self._note_height(row)
        return np.asarray(sheet, np.float32) / np.float32(255)

    def _place_head(self, sources: Sequence[tuple[NDArray[Any], str]], about: Sequence[str]) -> int:
        """Lay out what is above the grid, from left to right; return where that ends."""
        side = max(96, round(max(self.box) * 0.6))
        x = y = bottom = self.gap
        inside = self.width - 2 * self.gap
        for image, name in sources:
            picture = Image.fromarray(
                shrink(image, *(min(side, length) for length in image.shape[:2]))
            )
            caption = _Text(name, self.small, max(picture.width, _NARROWEST * self.small), 2)
            wide = max(picture.width, caption.width)
            if x > self.gap and x + wide > self.gap + inside:
                x, y = self.gap, bottom + self.gap
            self.head.append((x, y, picture))
            self.head.append((x, y + picture.height + self.gap // 4, caption))
            bottom = max(bottom, y + picture.height + self.gap // 4 + caption.height)
            x += wide + self.gap
        room = self.gap + inside - x
        if room < 2 * _NARROWEST * self.small:
            x, y, room = self.gap, bottom + self.gap, inside
        for line in about:
            text = _Text(line, self.small, room)
            self.head.append((x, y, text))
            y += text.height + self.gap // 4
        return max(bottom, y)

    def _centre(self, column: int) -> float:
        return self.left + column * (self.cell + self.gap) + self.cell / 2

    def _heading_height(self) -> int:
        tallest = max((text.height for text in self.columns), default=0)
        return tallest + self.gap // 2 if tallest else 0

    def _title_height(self, row: int) -> int:
        tallest = max(text.height for text in self.titles[row])
        return tallest + self.gap // 2 if tallest else 0

    def _picture_height(self, row: int) -> int:
        return max(self.box[0], self.rows[row].height if self.rows else 0)

    def _note_height(self, row: int) -> int:
        return max(text.height for text in self.notes[row]) + self.gap

    def _height(self) -> int:
        rows = range(len(self.tiles))
        parts = (self._title_height, self._picture_height, self._note_height)
        grid = sum(part(row) for row in rows for part in parts)
        return self.top + self._heading_height() + grid

    def _draw_empty(self, canvas: ImageDraw.ImageDraw, centre: float, y: int, note: _Text) -> None:
        high, wide = self.box
        left = int(centre - wide / 2)
        canvas.rectangle((left, y, left + wide - 1, y + high - 1), _EMPTY)
        note.draw(canvas, centre, y + (high - note.height) // 2, "m", _QUIET)
