"""Fields show settings, and return them exactly."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_nst.errors import InputError
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, RECORD_KEY, origins_of_job
from napari_nst.plugin.widgets.controls import Controls
from napari_nst.plugin.widgets.fields import field
from napari_nst.plugin.widgets.job_maker import JobMaker
from napari_nst.presets import presets
from napari_nst.settings import StyleTransferSettings

FIELDS = StyleTransferSettings.model_fields


@pytest.fixture
def controls(qtbot: Any) -> Controls:
    return Controls(ViewerModel())


@pytest.mark.parametrize("key", presets())
def test_every_preset_round_trips(controls: Controls, key: str) -> None:
    settings = presets()[key].resolve()
    controls.settings = settings

    assert controls.settings == settings


@pytest.mark.parametrize(
    "choices",
    [
        {"style_weight": 0.0},
        {"style_weight": 1234.5},
        {"size": 333, "scales": 2, "tile": "off", "memory_limit": 2.5},
        {"device": "cuda:1", "weights": "some/file.pth", "learning_rate": 0.3},
        {"style_scale": (1.0, 0.5), "region_softness": 0.125, "seed": 7},
        {"strokes_relative_to": "pixels"},
    ],
)
def test_all_settings_round_trip(controls: Controls, choices: dict[str, Any]) -> None:
    settings = StyleTransferSettings(**choices)
    controls.settings = settings

    assert controls.settings == settings


def test_changed_fields_are_read_and_other_settings_are_unchanged(controls: Controls) -> None:
    controls.settings = StyleTransferSettings(style_weight=1234.5, content_weight=3e-7)
    controls.fields["content_weight"].widget.value = "0.25"
    controls.fields["scales"].widget.value = " 3 "
    controls.fields["learning_rate"].widget.value = "automatic"

    assert controls.settings == StyleTransferSettings(
        style_weight=1234.5, content_weight=0.25, scales=3
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("content_weight", "much"), ("scales", "-1"), ("tile", "some"), ("memory_limit", "0")],
)
def test_invalid_values_raise_the_error_of_the_settings(
    controls: Controls, name: str, text: str
) -> None:
    controls.fields[name].widget.value = text

    with pytest.raises(InputError, match=f"^{name} is "):
        _ = controls.settings


@pytest.mark.parametrize("name", ["style_loss", "color", "network", "optimizer", "precision"])
def test_a_combo_box_offers_the_values_of_its_setting(qtbot: Any, name: str) -> None:
    widget = field(name, "Label", "Explanation.").widget

    assert tuple(widget.choices) == get_args(FIELDS[name].annotation)


def test_strokes_are_offered_in_plain_words(controls: Controls) -> None:
    combo = controls.fields["strokes_relative_to"].widget.native
    words = [combo.itemText(index) for index in range(combo.count())]
    assert words == ["grow with size", "fixed in pixels"]
    assert combo.accessibleName() == "Strokes"
    assert controls.settings.strokes_relative_to == "picture"

    for text, value in (("fixed in pixels", "pixels"), ("grow with size", "picture")):
        combo.setCurrentText(text)
        assert controls.settings == StyleTransferSettings(strokes_relative_to=value)


def test_the_strength_is_on_a_logarithmic_scale(controls: Controls) -> None:
    default = StyleTransferSettings().style_weight
    weights = []
    for strength in (0, 50, 100):
        controls.strength.value = strength
        weights.append(controls.settings.style_weight)

    assert weights == pytest.approx([default / 10, default, default * 10])


def test_an_init_image_is_not_offered(controls: Controls) -> None:
    controls.settings = StyleTransferSettings(init="image")

    assert controls.settings.init == "content"
    assert "image" not in controls.fields["init"].widget.choices


@pytest.mark.parametrize(
    ("words", "choice"),
    [("contrast limits", "limits"), ("percentiles", "percentiles"), ("as displayed", "displayed")],
)
def test_the_choice_of_intensities_applies_to_all_images_and_is_reused(
    qtbot: Any, words: str, choice: str
) -> None:
    viewer = ViewerModel()
    for name in ("photo", "paint"):
        viewer.add_image(np.zeros((8, 8, 3), np.uint8), name=name)
    controls = Controls(viewer)
    combo = controls.advanced.intensities
    combo.native.setCurrentText(words)
    job = JobMaker(viewer, controls).job()

    assert combo.native.accessibleName() == "Intensities"
    assert "percentiles" in combo.native.toolTip()
    assert [plane.intensities for plane in (job.content, *job.styles)] == [choice] * 2
    combo.value = "limits"
    record = {"settings": {}, "content": {"name": "photo"}, "styles": [{"name": "paint"}]}
    metadata = {RECORD_KEY: record, ORIGINS_KEY: origins_of_job(job)}
    controls.reuse(Image(np.zeros((4, 4)), metadata=metadata))
    assert combo.value == choice
    controls.reuse(Image(np.zeros((4, 4)), metadata={RECORD_KEY: record}))
    assert combo.value == "limits"
