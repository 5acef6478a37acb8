"""Measures of the benchmark of quality."""

from __future__ import annotations

import numpy as np
import pytest
from quality import measure

from napari_nst.settings import StyleTransferSettings


@pytest.mark.usefixtures("one_thread")
def test_a_result_that_is_the_content_keeps_all_and_one_that_is_noise_less() -> None:
    rng = np.random.default_rng(0)
    content = (rng.random((6, 8, 3)).repeat(16, 0).repeat(16, 1) * 255).astype(np.uint8)
    style = (rng.random((96, 128, 3)) * 255).astype(np.uint8)
    unchanged = StyleTransferSettings(
        size=128, output_size="working", iterations=1, scales=1, learning_rate=1e-6
    )
    same = measure("same", content, style, unchanged)
    noise = measure("noise", content, style, unchanged.replace(init="noise"))
    assert same.structure == pytest.approx(1, abs=1e-3)
    assert same.similarity == pytest.approx(1, abs=1e-3)
    assert noise.structure < 0.3
    assert noise.similarity < 0.7  # the border of a small picture is alike in all
    assert noise.style_distance < same.style_distance
    assert noise.noise == pytest.approx(1, rel=0.1)
