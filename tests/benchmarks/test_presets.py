"""Pairs and comparison of the benchmarks of quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pairs import PAIRS, SIX
from presets import dominated

from napari_nst.files import write_image

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"style_distance": 0.3, "structure": 0.6, "similarity": 0.5, "seconds": 5.0}


@pytest.mark.parametrize(
    ("slow", "worse"),
    [
        ({"style_distance": 0.4, "structure": 0.5, "similarity": 0.4}, True),
        ({"style_distance": 0.2, "structure": 0.5, "similarity": 0.4}, False),
        ({"style_distance": 0.4, "structure": 0.7, "similarity": 0.4}, False),
        ({"style_distance": 0.4, "structure": 0.5, "similarity": 0.6}, False),
    ],
)
def test_a_preset_is_dominated_if_a_faster_one_is_better_in_everything(
    slow: dict[str, float], worse: bool
) -> None:
    found = dominated({"fast": FAST, "slow": {**slow, "seconds": 20.0}})
    assert found == ({"slow": "fast"} if worse else {})


def test_a_slower_preset_dominates_none() -> None:
    best = {"style_distance": 0.1, "structure": 0.9, "similarity": 0.9, "seconds": 6.0}
    assert dominated({"fast": FAST, "best": best}) == {}


def test_pairs_have_names_of_their_own_and_six_are_of_all_kinds_but_one() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) == 12
    assert set(SIX) < set(PAIRS)
    assert {pair.kind for pair in PAIRS} - {pair.kind for pair in SIX} == {"ornament"}


def test_pictures_of_the_packages_need_no_folder_and_others_come_from_it(tmp_path: Path) -> None:
    found = {pair.name: pair.images(None) for pair in PAIRS}
    missing = {name for name, images in found.items() if images is None}
    assert missing == {"tubingen_starry_night", "china_shipwreck", "china_flower"}
    for name in ("china", "flower"):
        write_image(tmp_path / f"{name}.jpg", np.full((8, 9, 3), 0.5, np.float32))
    images = next(pair for pair in PAIRS if pair.name == "china_flower").images(tmp_path)
    assert images is not None
    assert [image.shape for image in images] == [(8, 9, 3)] * 2
