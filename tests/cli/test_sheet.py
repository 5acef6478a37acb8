"""Drawing of contact sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_nst.cli._sheet import draw_sheet, to_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_nst.cli._sheet import Line

RED, GREEN, EMPTY = (200, 0, 0), (0, 160, 0), (220, 220, 220)
LONG = "style layers relu1_1 0.3, relu2_1 0.25, relu3_1 0.2, relu4_1 0.15, relu5_1 0.1 " * 3


def plain(width: int, height: int, color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (width, height), color)


def draw(lines: list[Line], box: tuple[int, int]) -> NDArray[np.uint8]:
    sheet = draw_sheet(lines, box)
    assert sheet.dtype == np.float32
    return np.rint(sheet * 255).astype(np.uint8)


def count(sheet: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((sheet == color).all(axis=-1).sum())


@pytest.mark.parametrize("box", [(40, 24), (12, 40), (240, 160), (90, 300)])
@pytest.mark.parametrize("text", ["size 3", LONG, "w" * 300, "two words", ""])
def test_pictures_and_texts_do_not_overlap(box: tuple[int, int], text: str) -> None:
    red, green = plain(*box, RED), plain(2 * box[0], 2 * box[1], GREEN)
    sheet = draw([text, [green, green], [text, text], text, [red, red], [text, text]], box)
    assert count(sheet, RED) == count(sheet, GREEN) == 2 * box[0] * box[1]
    # no text reaches the border, so none is cut
    border = np.concatenate([sheet[:3], sheet[-3:]]), np.concatenate([sheet[:, :3], sheet[:, -3:]])
    assert all((part == 255).all() for part in border)


@pytest.mark.parametrize("box", [(40, 24), (240, 160)])
def test_texts_of_neighbours_are_apart(box: tuple[int, int]) -> None:
    sheet = draw([["w" * 300, "w" * 300]], box)
    columns = np.flatnonzero((sheet < 128).any(axis=(0, 2)))
    gaps = np.diff(columns)
    assert gaps.max() >= 10  # between the two texts; letters are closer


def test_texts_enlarge_the_sheet() -> None:
    red = plain(200, 60, RED)
    bare = draw(["", ["", ""], [red, red], ["", ""]], (200, 60))
    full = draw(["size 96", ["pooling max", ""], [red, red], ["12 s", ""]], (200, 60))
    assert full.shape[0] > bare.shape[0]
    assert (full.min(axis=-1) < 60).sum() > (bare.min(axis=-1) < 60).sum()


def test_missing_picture_is_an_empty_box() -> None:
    sheet = draw([[plain(200, 50, RED), None]], (200, 50))
    assert count(sheet, RED) == count(sheet, EMPTY) == 200 * 50


def test_last_line_may_be_shorter() -> None:
    red = plain(200, 50, RED)
    assert count(draw([[red] * 3, [red]], (200, 50)), RED) == 4 * 200 * 50


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((20, 40), 255, np.uint8), (255, 255, 255)),
        (np.full((20, 40), 65535, np.uint16), (255, 255, 255)),
        (np.full((20, 40, 3), 0.4, np.float32), (102, 102, 102)),
        (np.full((20, 40), np.nan, np.float32), (0, 0, 0)),
        (np.zeros((20, 40, 4), np.uint8), (255, 255, 255)),  # transparent pixels are white
    ],
)
def test_picture_of_any_image_is_rgb_over_white(
    image: NDArray[Any], expected: tuple[int, int, int]
) -> None:
    picture = np.asarray(to_picture(image))
    assert picture.shape == (20, 40, 3)
    assert (picture == expected).all()


@pytest.mark.parametrize(
    ("box", "size"),
    [((40, 20), (40, 20)), ((20, 99), (20, 10)), ((99, 20), (40, 20)), ((80, 40), (80, 40))],
)
def test_pictures_are_scaled_to_fit_the_box(box: tuple[int, int], size: tuple[int, int]) -> None:
    assert count(draw([[plain(40, 20, RED)]], box), RED) == size[0] * size[1]


def test_large_pictures_are_made_smaller() -> None:
    assert to_picture(np.zeros((3000, 1500), np.uint8)).size == (512, 1024)
