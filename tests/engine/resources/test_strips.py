from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.engine.resources.strips import strips

if TYPE_CHECKING:
    from torch import Tensor


def features(channels: int, height: int, width: int) -> Tensor:
    return torch.zeros(1, 1, 1, 1).expand(1, channels, height, width)


@given(st.integers(1, 1024), st.integers(0, 3000), st.integers(0, 3000))
def test_strips_cover_all_rows_and_have_at_most_4_mib(
    channels: int, height: int, width: int
) -> None:
    found = list(strips(features(channels, height, width)))
    assert [row for rows in found for row in range(height)[rows]] == list(range(height))
    assert all(one.stop == other.start for one, other in pairwise(found))
    for rows in found:
        count = rows.stop - rows.start
        assert count >= 1
        assert count == 1 or 4 * channels * width * count <= 4 * 2**20


def test_other_devices_have_a_single_strip() -> None:
    image: Any = SimpleNamespace(shape=(1, 512, 4000, 5000), device=torch.device("cuda"))
    assert list(strips(image)) == [slice(0, 4000)]
