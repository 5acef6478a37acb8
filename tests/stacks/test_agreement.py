"""Settings of the planes of a stack, and its cost."""

from __future__ import annotations

import pytest

from napari_nst import StyleTransferSettings
from napari_nst.engine.resources import costs
from napari_nst.errors import InputError
from napari_nst.stacks import agreement

SETTINGS = StyleTransferSettings(iterations=100)


@pytest.mark.parametrize("plane", [0, 1, 7])
def test_planes_that_start_from_their_content_have_the_settings_of_the_first(plane: int) -> None:
    assert agreement.plane_settings(SETTINGS, plane, "content") == SETTINGS


def test_later_planes_have_one_scale_fewer_iterations_and_a_lower_learning_rate() -> None:
    assert agreement.plane_settings(SETTINGS, 0, "previous") == SETTINGS
    later = agreement.plane_settings(SETTINGS, 1, "previous")
    assert later == agreement.plane_settings(SETTINGS, 9, "previous")
    assert (later.init, later.scales) == ("image", 1)
    assert later.iterations < SETTINGS.iterations
    assert 0 < later.learning_rate < 0.02
    others = {"style_weight", "content_weight", "seed", "size", "color"}
    assert later.model_dump(include=others) == SETTINGS.model_dump(include=others)


@pytest.mark.parametrize("iterations", [1, 5, 25])
def test_later_planes_have_no_more_iterations_than_the_first(iterations: int) -> None:
    later = agreement.plane_settings(SETTINGS.replace(iterations=iterations), 1, "previous")
    assert 1 <= later.iterations <= iterations


def test_the_learning_rate_of_lbfgs_is_unchanged() -> None:
    settings = SETTINGS.replace(optimizer="lbfgs")
    assert agreement.plane_settings(settings, 1, "previous").learning_rate is None


def test_an_invalid_start_raises() -> None:
    with pytest.raises(InputError, match="start_from is 'next'; it must be"):
        agreement.check_start_from("next")


def test_the_cost_is_that_of_all_planes() -> None:
    first = costs.estimate(SETTINGS, 96, 128, "cpu")
    assert agreement.cost(SETTINGS, 96, 128, "cpu", planes=1).operations == first.operations
    content = agreement.cost(SETTINGS, 96, 128, "cpu", planes=5, start_from="content")
    assert content.operations == pytest.approx(5 * first.operations)
    later = costs.estimate(agreement.plane_settings(SETTINGS, 1, "previous"), 96, 128, "cpu")
    previous = agreement.cost(SETTINGS, 96, 128, "cpu", planes=5)
    assert previous.operations == pytest.approx(first.operations + 4 * later.operations)
    assert previous.operations < content.operations
    assert previous.memory >= first.memory
