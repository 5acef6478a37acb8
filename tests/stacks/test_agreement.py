"""Settings of the planes of a stack, and its cost."""

from __future__ import annotations

from typing import Any

import pytest

from napari_nst import StyleTransferSettings
from napari_nst.engine.optim.sizes import scales_for
from napari_nst.engine.resources import costs
from napari_nst.errors import InputError
from napari_nst.stacks import agreement

SETTINGS = StyleTransferSettings(iterations=100)
SHAPE = (96, 128)


@pytest.mark.parametrize("plane", [0, 1, 7])
def test_planes_that_start_from_their_content_have_the_settings_of_the_first(plane: int) -> None:
    assert agreement.plane_settings(SETTINGS, plane, "content", SHAPE, "cpu") == SETTINGS


def test_later_planes_have_one_scale_fewer_iterations_and_a_lower_learning_rate() -> None:
    assert agreement.plane_settings(SETTINGS, 0, "previous", SHAPE, "cpu") == SETTINGS
    later = agreement.plane_settings(SETTINGS, 1, "previous", SHAPE, "cpu")
    assert later == agreement.plane_settings(SETTINGS, 9, "previous", SHAPE, "cpu")
    assert (later.init, later.scales) == ("image", 1)
    assert later.iterations < SETTINGS.iterations
    assert 0 < later.learning_rate < 0.02
    others = {"style_weight", "content_weight", "seed", "size", "color"}
    assert later.model_dump(include=others) == SETTINGS.model_dump(include=others)


@pytest.mark.parametrize(
    ("choices", "shape", "device", "expected"),
    [
        ({}, (768, 1024), "cpu", 1),  # works at 512 pixels
        ({}, (768, 1024), "cuda", 2),
        ({"size": None}, (2048, 1536), "cpu", 3),
        ({"size": None, "strokes_relative_to": "pixels"}, (2048, 1536), "cpu", 1),
        ({"size": 1024, "scales": 1}, (768, 1024), "cpu", 1),
    ],
)
def test_later_planes_begin_at_the_scale_of_the_strokes(
    choices: dict[str, Any], shape: tuple[int, int], device: str, expected: int
) -> None:
    settings = SETTINGS.replace(**choices)
    later = agreement.plane_settings(settings, 1, "warped", shape, device)
    assert later.scales == expected
    first, again = (scales_for(each, *shape, device) for each in (settings, later))
    assert [(scale.width, scale.role) for scale in again] == [
        (scale.width, scale.role) for scale in first[-expected:]
    ]


@pytest.mark.parametrize("iterations", [1, 5, 25])
def test_later_planes_have_no_more_iterations_than_the_first(iterations: int) -> None:
    later = agreement.plane_settings(
        SETTINGS.replace(iterations=iterations), 1, "previous", SHAPE, "cpu"
    )
    assert 1 <= later.iterations <= iterations


def test_the_learning_rate_of_lbfgs_is_unchanged() -> None:
    settings = SETTINGS.replace(optimizer="lbfgs")
    assert agreement.plane_settings(settings, 1, "previous", SHAPE, "cpu").learning_rate is None


def test_an_invalid_start_raises() -> None:
    with pytest.raises(InputError, match="start_from is 'next'; it must be"):
        agreement.check_start_from("next")


def test_the_cost_is_that_of_all_planes() -> None:
    first = costs.estimate(SETTINGS, 96, 128, "cpu")
    assert agreement.cost(SETTINGS, 96, 128, "cpu", planes=1).operations == first.operations
    content = agreement.cost(SETTINGS, 96, 128, "cpu", planes=5, start_from="content")
    assert content.operations == pytest.approx(5 * first.operations)
    later = costs.estimate(
        agreement.plane_settings(SETTINGS, 1, "previous", SHAPE, "cpu"), 96, 128, "cpu"
    )
    previous = agreement.cost(SETTINGS, 96, 128, "cpu", planes=5)
    assert previous.operations == pytest.approx(first.operations + 4 * later.operations)
    assert previous.operations < content.operations
    assert previous.memory >= first.memory
