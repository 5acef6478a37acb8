"""The list of styles and their shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.styles_list import StylesList, rebalanced


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda x: sum(x) > 0.01),
    st.integers(0, 100),
    st.floats(0, 1),
)
def test_shares_sum_to_one_and_the_others_keep_their_proportions(
    raw: list[float], index: int, share: float
) -> None:
    shares = [x / sum(raw) for x in raw]
    index %= len(shares)
    new = rebalanced(shares, index, share)

    assert sum(new) == pytest.approx(1)
    assert new[index] == share
    others = [i for i in range(len(shares)) if i != index]
    for i in others:
        for j in others:
            assert new[i] * shares[j] == pytest.approx(new[j] * shares[i], abs=1e-6)


@pytest.fixture
def layers() -> list[Image]:
    return [Image(np.full((8, 8), i), name=f"{i}", contrast_limits=(0, 9)) for i in range(4)]


@pytest.fixture
def styles(qtbot: Any, layers: list[Image]) -> StylesList:
    made = StylesList(lambda *_: layers)
    qtbot.addWidget(made)
    return made


def test_one_style_has_the_whole_share(styles: StylesList, layers: list[Image]) -> None:
    assert styles.layers == layers[:1]
    assert styles.shares is None
    styles.remove(0)
    assert len(styles.rows) == 1


def test_added_styles_have_equal_shares_and_removal_keeps_proportions(
    styles: StylesList, layers: list[Image]
) -> None:
    styles.add()
    styles.add(layers[3])
    assert styles.layers == [layers[0], layers[1], layers[3]]
    assert styles.shares is None
    styles.rows[2].share.value = 80
    assert styles.shares == pytest.approx((0.1, 0.1, 0.8))
    assert [row.share.value for row in styles.rows] == [10, 10, 80]
    styles.rows[0].remove_button.click()
    assert styles.layers == [layers[1], layers[3]]
    assert styles.shares == pytest.approx((1 / 9, 8 / 9))


def test_a_share_can_be_zero_or_one(styles: StylesList) -> None:
    styles.add()
    styles.rows[0].share.value = 100
    assert styles.shares == (1.0, 0.0)
    styles.rows[0].share.value = 40
    assert styles.shares == pytest.approx((0.4, 0.6))


def test_shares_for_another_number_of_styles_are_ignored(styles: StylesList) -> None:
    styles.add()
    styles.shares = (3.0, 1.0)
    styles.shares = (1.0, 1.0, 8.0)

    assert styles.shares == (0.75, 0.25)


def test_replacing_a_deleted_layer_emits_no_change(qtbot: Any) -> None:
    viewer = ViewerModel()
    for name in "abc":
        viewer.add_image(np.zeros((9, 9)), name=name)
    controls = Controls(viewer)
    controls.styles.rows[0].choice.value = viewer.layers["c"]
    emitted: list[object] = []
    controls.styles.changed.connect(lambda: emitted.append(1))
    viewer.layers.remove("c")
    controls.reset_choices()

    assert emitted == []
    assert controls.styles.layers[0] in viewer.layers


def test_a_row_shows_the_thumbnail_of_its_layer(styles: StylesList, layers: list[Image]) -> None:
    layers[2].thumbnail = np.full((32, 32, 4), (255, 0, 0, 255), np.uint8)
    styles.rows[0].choice.value = layers[2]
    image = styles.rows[0].thumbnail.toImage()

    assert image.pixelColor(14, 14).getRgb() == (255, 0, 0, 255)


def test_a_second_click_on_remove_does_nothing(styles: StylesList, layers: list[Image]) -> None:
    styles.add()
    styles.add()
    cross = styles.rows[1].remove_button
    cross.click()
    cross.click()

    assert styles.layers == [layers[0], layers[2]]
    assert styles.shares is None


def test_a_double_click_removes_one_style(
    styles: StylesList, layers: list[Image], qtbot: Any
) -> None:
    """Qt sends the second click to the next row, which has moved under the pointer."""
    styles.add()
    styles.add()
    first, second = (row.remove_button for row in styles.rows[:2])
    qtbot.mouseClick(first, Qt.MouseButton.LeftButton)
    qtbot.mouseDClick(second, Qt.MouseButton.LeftButton)

    assert styles.layers == [layers[1], layers[2]]
