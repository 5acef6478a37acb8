"""Runs on uint16 images that use fewer than 16 bits: values in, values out, replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_nst import StyleTransfer, stylize
from napari_nst.ranges import Range, RangedImage
from napari_nst.record import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("one_thread")

TINY: dict[str, Any] = {"size": 48, "iterations": 4, "scales": 1, "precision": "float32"}


@pytest.fixture
def scene(photo: Any) -> NDArray[np.float32]:
    values: NDArray[np.float32] = 0.2 + 0.6 * photo(40, 48)[..., 0]
    values[0, 0] = 1
    return values


def camera(scene: NDArray[np.float32], bits: int) -> NDArray[np.uint16]:
    return np.rint(scene * (2**bits - 1)).astype(np.uint16)


def carried_out(run: StyleTransfer) -> Any:
    for _ in run:
        pass
    return run.result()


@pytest.mark.parametrize("bits", [8, 12, 14])
def test_a_camera_of_fewer_bits_makes_the_same_picture(
    scene: NDArray[np.float32], stripes: Any, bits: int
) -> None:
    content = camera(scene, bits)
    result = stylize(content, stripes(40, 40), **TINY)
    unit = stylize((content / (2**bits - 1)).astype(np.float32), stripes(40, 40), **TINY).image
    counts = result.image * 65_535
    np.testing.assert_allclose(counts, unit * (2**bits - 1), atol=2e-3 * 2**bits)
    assert counts.max() <= 2**bits - 1
    assert np.corrcoef(counts.ravel(), content.ravel())[0, 1] > 0.8
    assert result.record.content.bits == bits


def test_a_style_has_bits_of_its_own(scene: NDArray[np.float32], stripes: Any) -> None:
    style = stripes(40, 40)[..., 0]
    counts = camera(style / style.max(), 10)
    narrow = stylize(scene, counts, **TINY)
    wide = stylize(scene, (counts / 1023).astype(np.float32), **TINY)
    np.testing.assert_allclose(narrow.image, wide.image, atol=1e-3)
    assert narrow.record.styles[0].bits == 10


def test_kept_pixels_are_the_contents_own_bit_for_bit(
    scene: NDArray[np.float32], stripes: Any
) -> None:
    content = camera(scene, 12)
    labels = np.zeros(content.shape, int)
    labels[10:30, 10:30] = 1
    image = stylize(content, stripes(40, 40), content_labels=labels, **TINY).image
    expected = content.astype(np.float32) / np.float32(65_535)
    assert np.array_equal(image[labels == 0], expected[labels == 0])
    assert (image[labels == 1] != expected[labels == 1]).any()


def test_a_saved_run_keeps_the_bits_of_its_content(
    scene: NDArray[np.float32], stripes: Any, tmp_path: Path
) -> None:
    content = camera(scene, 12)
    whole = carried_out(StyleTransfer(content, stripes(40, 40), **_settings()))
    run = StyleTransfer(content, stripes(40, 40), **_settings())
    next(run)
    run.save(tmp_path / "run.nst")
    again = carried_out(StyleTransfer.load(tmp_path / "run.nst"))
    assert again.image.tobytes() == whole.image.tobytes()
    assert again.record.content == whole.record.content


def _settings() -> dict[str, Any]:
    from napari_nst import StyleTransferSettings

    return {"settings": StyleTransferSettings(**TINY)}


def test_a_replay_reads_values_as_the_record_says(scene: NDArray[np.float32], stripes: Any) -> None:
    content, style = camera(scene, 12), camera(stripes(40, 40)[..., 0], 10)
    for given in (content, RangedImage(content, Range(100, 3000)), RangedImage(content)):
        run = StyleTransfer(given, style, **_settings())
        next(run)
        other = camera(stripes(40, 40)[..., 0], 14)
        run.steer(styles=[RangedImage(other, bits=15)])
        first = carried_out(run)
        record = RunRecord.model_validate_json(first.record.to_json())
        assert record.steering[0].styles is not None
        assert record.steering[0].styles[0].bits == 15
        again = stylize(content, style, record=record, replacements=[other])
        assert again.image.tobytes() == first.image.tobytes()
        older = first.record.to_dict()
        del older["content"]["range"], older["content"]["bits"]
        assert RunRecord.model_validate(older).content.bits is None


def test_a_result_is_a_start_as_it_is(scene: NDArray[np.float32], stripes: Any) -> None:
    content = camera(scene, 12)
    first = stylize(content, stripes(40, 40), **TINY).image
    choices = TINY | {"init": "image", "iterations": 1}
    run = StyleTransfer(
        content, stripes(40, 40), _settings()["settings"].replace(**choices), init_image=first
    )
    np.testing.assert_allclose(run.result().image, first, atol=1e-6)
