from __future__ import annotations

import pytest

from napari_nst.axes import is_time


@pytest.mark.parametrize("name", ["t", "T", "time", "Frame", "frames"])
def test_names_of_time(name: str) -> None:
    assert is_time(name)


@pytest.mark.parametrize("name", ["", "z", "c", "timer", "thickness"])
def test_other_names(name: str) -> None:
    assert not is_time(name)
