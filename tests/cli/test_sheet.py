"""Drawing of contact sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst.cli._sheet import Thumbnail, draw_sheet, shrink

if TYPE_CHECKING:
    from numpy.typing import NDArray

RED, GREEN = (200, 0, 0), (0, 160, 0)
LONG = "style layers relu1_1 0.3, relu2_1 0.25, relu3_1 0.2, relu4_1 0.15, relu5_1 0.1 " * 3


def plain(height: int, width: int, color: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((height, width, 3), color, np.uint8)


def draw(box: tuple[int, int], heading: str, note: str, title: str = "") -> NDArray[np.uint8]:
    thumbnail = Thumbnail(plain(*box, RED), note, title)
    headings = [] if title else [heading] * 2
    source = (plain(100, 80, GREEN), heading)
    sheet = draw_sheet(
        [source, source], [heading], [[thumbnail, thumbnail]] * 2, headings, headings, box
    )
    assert sheet.dtype == np.float32
    return np.rint(sheet * 255).astype(np.uint8)


@pytest.mark.parametrize("box", [(24, 40), (40, 12), (160, 240), (300, 90)])
@pytest.mark.parametrize("text", ["size 3", LONG, "w" * 300, "two words", ""])
@pytest.mark.parametrize("title", [False, True])
def test_blocks_do_not_overlap(box: tuple[int, int], text: str, title: bool) -> None:
    sheet = draw(box, text, text, text if title else "")
    red = (sheet == RED).all(axis=-1)
    green = (sheet == GREEN).all(axis=-1)
    assert red.sum() == 4 * box[0] * box[1]  # not a letter over a picture
    assert green.sum() % 2 == 0 and green.sum() > 0
    # no text reaches the border, so none is cut
    border = np.concatenate([sheet[:3], sheet[-3:]]), np.concatenate([sheet[:, :3], sheet[:, -3:]])
    assert all((part == 255).all() for part in border)


def test_texts_enlarge_the_sheet() -> None:
    bare, full = draw((60, 200), "", ""), draw((60, 200), "pooling max", "12 s")
    assert full.shape[0] > bare.shape[0]
    assert full.shape[1] > bare.shape[1]
    assert (full.min(axis=-1) < 60).sum() > (bare.min(axis=-1) < 60).sum()


def test_missing_picture_is_a_grey_box() -> None:
    thumbnails = [[Thumbnail(plain(50, 200, RED), "1 s"), Thumbnail(None, "not made")]]
    sheet = np.rint(draw_sheet([], [], thumbnails, [], ["a", "b"], (50, 200)) * 255)
    grey = (sheet == 236).all(axis=-1)
    assert 0.8 * 50 * 200 < grey.sum() < 50 * 200  # the box without the letters
    assert grey[:, 0].sum() == 0


def test_last_row_may_be_shorter() -> None:
    thumbnail = Thumbnail(plain(50, 200, RED), "1 s", "A")
    sheet = np.rint(draw_sheet([], [], [[thumbnail] * 3, [thumbnail]], [], [], (50, 200)) * 255)
    assert (sheet == RED).all(axis=-1).sum() == 4 * 50 * 200


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
@pytest.mark.parametrize("box", [(20, 40), (10, 99), (99, 20), (40, 80)])
def test_shrink_fits_any_image_into_the_box(
    image: NDArray[Any], expected: tuple[int, int, int], box: tuple[int, int]
) -> None:
    small = shrink(image, *box)
    high, wide = {(20, 40): (20, 40), (10, 99): (10, 20), (99, 20): (10, 20)}.get(box, (40, 80))
    assert small.shape == (high, wide, 3)
    assert (small == expected).all()
