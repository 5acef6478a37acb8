"""Runs that share a style cache: the same bytes, with fewer computations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import quick_settings, run_to_end

from napari_nst import StyleTransfer
from napari_nst.engine.run.style_cache import StyleCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Maker = Callable[[int, int], NDArray[np.float32]]

SCALES = 2

quick = partial(quick_settings, scales=SCALES, iterations=6)

pytestmark = pytest.mark.usefixtures("one_thread", "thin_network")


def result_bytes(run: StyleTransfer) -> bytes:
    return run_to_end(run).image.tobytes()


@pytest.mark.parametrize("choices", [{}, {"style_loss": "wasserstein"}, {"color": "match"}])
def test_a_shared_cache_does_not_change_results(
    photo: Maker, stripes: Maker, choices: dict[str, Any]
) -> None:
    cache = StyleCache()
    style = stripes(60, 70)
    for height in (96, 80, 96):
        content = photo(height, 90)
        expected = result_bytes(StyleTransfer(content, style, quick(**choices)))
        run = StyleTransfer(content, style, quick(**choices), style_cache=cache)
        assert result_bytes(run) == expected
    assert cache.networks == 1


def test_network_and_style_statistics_are_computed_once(photo: Maker, stripes: Maker) -> None:
    cache = StyleCache()
    styles = [stripes(60, 70), photo(50, 50)]
    for shift in (0, 8, 16):
        content = np.roll(photo(96, 90), shift, axis=1)
        run_to_end(StyleTransfer(content, styles, quick(), style_cache=cache))
    assert (cache.networks, cache.computed) == (1, SCALES)


def test_styles_replaced_during_a_run_have_their_own_statistics(
    photo: Maker, stripes: Maker
) -> None:
    cache = StyleCache()
    content, style, other = photo(96, 90), stripes(60, 70), photo(60, 70)
    unsteered = result_bytes(StyleTransfer(content, style, quick(), style_cache=cache))
    results = []
    for each in (cache, StyleCache()):
        run = StyleTransfer(content, style, quick(), style_cache=each)
        next(run)
        run.steer(styles=[other])
        results.append(result_bytes(run))
    assert results[0] == results[1] != unsteered
    again = StyleTransfer(content, style, quick(), style_cache=cache)
    assert result_bytes(again) == unsteered


@pytest.mark.parametrize(
    "choices",
    [
        {"pooling": "average"},
        {"padding": "zero"},
        {"style_layers": ("relu1_2",)},
        {"content_layers": ("relu1_2",)},
    ],
)
def test_another_network_empties_the_cache(
    photo: Maker, stripes: Maker, choices: dict[str, Any]
) -> None:
    cache = StyleCache()
    content, style = photo(96, 90), stripes(60, 70)
    run_to_end(StyleTransfer(content, style, quick(), style_cache=cache))
    changed = quick(**choices)
    expected = result_bytes(StyleTransfer(content, style, changed))
    assert result_bytes(StyleTransfer(content, style, changed, style_cache=cache)) == expected
    assert cache.networks == 2
