"""Which axes of a layer are time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_nst.plugin.layers.time_axis import is_time_axis


def layer(**options: Any) -> Image:
    return Image(np.zeros((2, 3, 8, 8)), **options)


@pytest.mark.parametrize("label", ["t", "T", "time", "Time", "frames"])
def test_an_axis_with_a_label_of_time_is_time(label: str) -> None:
    labelled = layer(axis_labels=("z", label, "y", "x"))
    assert [is_time_axis(labelled, axis) for axis in range(4)] == [False, True, False, False]


@pytest.mark.parametrize("unit", ["second", "ms", "hour"])
def test_an_axis_with_a_unit_of_time_is_time(unit: str) -> None:
    with_unit = layer(units=(unit, "um", "um", "um"))
    assert [is_time_axis(with_unit, axis) for axis in range(4)] == [True, False, False, False]
    assert is_time_axis(layer(axis_labels=("n", "z", "y", "x"), units=(unit, *["um"] * 3)), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "my film"},
        {"name": "Movie_3"},
        {"name": "cells time-lapse"},
        {"name": "timeseries"},
        {"metadata": {"FPS": 25}},
    ],
)
def test_the_first_axis_of_a_film_is_time(options: dict[str, Any]) -> None:
    film = layer(**options)
    assert is_time_axis(film, 0)
    assert not is_time_axis(film, 1)
    assert not is_time_axis(layer(axis_labels=("z", "c", "y", "x"), **options), 0)


def test_the_first_axis_of_a_layer_from_a_film_file_is_time() -> None:
    from napari.layers._source import layer_source

    with layer_source(path="clip.MP4"):
        assert is_time_axis(layer(name="clip"), 0)
    with layer_source(path="clip.tif"):
        assert not is_time_axis(layer(name="clip"), 0)


@pytest.mark.parametrize("name", ["volume", "filmed", "videography", ""])
def test_an_axis_without_a_sign_of_time_is_not_time(name: str) -> None:
    assert not is_time_axis(layer(name=name), 0)
