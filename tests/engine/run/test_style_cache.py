from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from on_device import DEVICE

from napari_nst import StyleTransfer, StyleTransferSettings
from napari_nst.engine.run.style_cache import StyleCache

SCALES = 2

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**choices: Any) -> StyleTransferSettings:
    quick: dict[str, Any] = {
        "content_layers": ("relu2_1",),
        "style_layers": ("relu1_1", "relu2_1"),
        "scales": SCALES,
        "size": None,
        "iterations": 6,
        "device": DEVICE,
    }
    return StyleTransferSettings(**(quick | choices))


def carried_out(run: StyleTransfer) -> bytes:
    for _ in run:
        pass
    return run.result().image.tobytes()


@pytest.mark.parametrize("choices", [{}, {"style_loss": "wasserstein"}, {"color": "match"}])
def test_a_run_that_shares_comes_to_the_same_bytes(photo, stripes, choices) -> None:
    cache = StyleCache()
    style = stripes(60, 70)
    for height in (96, 80, 96):
        content = photo(height, 90)
        alone = carried_out(StyleTransfer(content, style, settings(**choices)))
        run = StyleTransfer(content, style, settings(**choices), style_cache=cache)
        assert carried_out(run) == alone
    assert cache.networks == 1


def test_the_network_and_the_styles_are_computed_once(photo, stripes) -> None:
    cache = StyleCache()
    styles = [stripes(60, 70), photo(50, 50)]
    for shift in (0, 8, 16):
        content = np.roll(photo(96, 90), shift, axis=1)
        carried_out(StyleTransfer(content, styles, settings(), style_cache=cache))
    assert (cache.networks, cache.computed) == (1, SCALES)


def test_other_and_steered_styles_have_their_own_statistics(photo, stripes) -> None:
    cache = StyleCache()
    content, style, other = photo(96, 90), stripes(60, 70), photo(60, 70)
    carried_out(StyleTransfer(content, style, settings(), style_cache=cache))
    run, alone = (
        StyleTransfer(content, style, settings(), style_cache=each)
        for each in (cache, StyleCache())
    )
    pictures = []
    for each in (run, alone):
        next(each)
        each.steer(styles=[other])
        pictures.append(carried_out(each))
    assert pictures[0] == pictures[1]
    assert pictures[0] != carried_out(StyleTransfer(content, style, settings(), style_cache=cache))


@pytest.mark.parametrize(
    "choices",
    [
        {"pooling": "average"},
        {"padding": "zero"},
        {"style_layers": ("relu1_2",)},
        {"content_layers": ("relu1_2",)},
    ],
)
def test_another_network_empties_the_cache(photo, stripes, choices) -> None:
    cache = StyleCache()
    content, style = photo(96, 90), stripes(60, 70)
    carried_out(StyleTransfer(content, style, settings(), style_cache=cache))
    changed = settings(**choices)
    alone = carried_out(StyleTransfer(content, style, changed))
    assert carried_out(StyleTransfer(content, style, changed, style_cache=cache)) == alone
    assert cache.networks == 2
