"""Runs on uint16 images that use fewer than 16 bits: values in, values out, replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engine_helpers import run_to_end

from napari_nst import StyleTransfer, StyleTransferSettings, stylize
from napari_nst.ranges import Range, RangedImage
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = StyleTransferSettings(
    content_layers=("relu3_1",),
    style_layers=("relu1_1", "relu3_1"),
    size=48,
    iterations=4,
    scales=1,
    precision="float32",
)


@pytest.fixture
def scene(photo: Any) -> NDArray[np.float32]:
    """Return a grey image whose largest value is 1."""
    values: NDArray[np.float32] = 0.2 + 0.6 * photo(40, 48)[..., 0]
    values[0, 0] = 1
    return values


def digitize(scene: NDArray[np.float32], bits: int) -> NDArray[np.uint16]:
    """Return an image as a camera of so many bits records it."""
    return np.rint(scene * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 12, 14])
def test_an_image_of_fewer_bits_gives_the_same_result_in_its_own_range(
    scene: NDArray[np.float32], stripes: Any, bits: int
) -> None:
    content = digitize(scene, bits)
    result = stylize(content, stripes(40, 40), SETTINGS)
    unit = stylize((content / (2**bits - 1)).astype(np.float32), stripes(40, 40), SETTINGS).image
    counts = result.image * 65_535
    np.testing.assert_allclose(counts, unit * (2**bits - 1), atol=2e-3 * 2**bits)
    assert counts.max() <= 2**bits - 1
    assert np.corrcoef(counts.ravel(), content.ravel())[0, 1] > 0.8
    assert result.record.content.bits == bits


def test_the_bits_of_a_style_are_its_own(scene: NDArray[np.float32], stripes: Any) -> None:
    style = stripes(40, 40)[..., 0]
    counts = digitize(style / style.max(), 10)
    narrow = stylize(scene, counts, SETTINGS)
    wide = stylize(scene, (counts / 1023).astype(np.float32), SETTINGS)
    np.testing.assert_allclose(narrow.image, wide.image, atol=1e-3)
    assert narrow.record.styles[0].bits == 10


def test_kept_pixels_equal_the_content_bit_for_bit(
    scene: NDArray[np.float32], stripes: Any
) -> None:
    content = digitize(scene, 12)
    labels = np.zeros(content.shape, int)
    labels[10:30, 10:30] = 1
    image = stylize(content, stripes(40, 40), SETTINGS, content_labels=labels).image
    expected = content.astype(np.float32) / np.float32(65_535)
    assert np.array_equal(image[labels == 0], expected[labels == 0])
    assert (image[labels == 1] != expected[labels == 1]).any()


def test_a_saved_run_keeps_the_bits_of_its_content(
    scene: NDArray[np.float32], stripes: Any, tmp_path: Path
) -> None:
    content = digitize(scene, 12)
    whole = run_to_end(StyleTransfer(content, stripes(40, 40), SETTINGS))
    run = StyleTransfer(content, stripes(40, 40), SETTINGS)
    next(run)
    run.save(tmp_path / "run.nst")
    again = run_to_end(StyleTransfer.load(tmp_path / "run.nst"))
    assert again.image.tobytes() == whole.image.tobytes()
    assert again.record.content == whole.record.content


def test_a_replay_uses_the_recorded_ranges(scene: NDArray[np.float32], stripes: Any) -> None:
    content, style = digitize(scene, 12), digitize(stripes(40, 40)[..., 0], 10)
    for given in (content, RangedImage(content, Range(100, 3000)), RangedImage(content)):
        run = StyleTransfer(given, style, SETTINGS)
        next(run)
        other = digitize(stripes(40, 40)[..., 0], 14)
        run.steer(styles=[RangedImage(other, bits=15)])
        first = run_to_end(run)
        record = RunRecord.model_validate_json(first.record.to_json())
        assert record.steering[0].styles is not None
        assert record.steering[0].styles[0].bits == 15
        again = stylize(content, style, record=record, replacements=[other])
        assert again.image.tobytes() == first.image.tobytes()
        without = first.record.to_dict()
        del without["content"]["range"], without["content"]["bits"]  # as in older records
        assert RunRecord.model_validate(without).content.bits is None


def test_a_result_is_an_initial_image_in_the_same_range(
    scene: NDArray[np.float32], stripes: Any
) -> None:
    content = digitize(scene, 12)
    first = stylize(content, stripes(40, 40), SETTINGS).image
    settings = SETTINGS.replace(init="image", iterations=1)
    run = StyleTransfer(content, stripes(40, 40), settings, init_image=first)
    np.testing.assert_allclose(run.result().image, first, atol=1e-6)
