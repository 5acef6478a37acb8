"""Commands with layers as arguments, executed as other plugins do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Image
from npe2 import PluginManager

from napari_nst.errors import InputError
from napari_nst.plugin.commands import continue_layer, stylize_layers
from napari_nst.plugin.provenance.origins import ORIGINS_KEY

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"size": 32, "iterations": 2}


def execute(name: str, *arguments: Any, **more: Any) -> Any:
    """Execute a command as another plugin does."""
    commands = get_app_model().commands
    return commands.execute_command(f"napari-nst.{name}", *arguments, **more).result()


@pytest.fixture
def stack(viewer: Any) -> Any:
    data = np.random.default_rng(0).integers(0, 900, (5, 40, 44), dtype=np.uint16)
    layer = viewer.add_image(data, name="stack", scale=(2, 1, 1))
    viewer.dims.set_current_step(0, 3)
    return layer


def test_a_command_adds_its_result_to_the_viewer(viewer: Any, stack: Any) -> None:
    paint = viewer.layers["paint"]
    before = list(viewer.layers)
    result = execute("stylize_layers", stack, paint, QUICK)

    assert isinstance(result, Image)
    assert list(viewer.layers) == [*before, result]
    assert result.name == "stack x paint"
    assert result.data.dtype == np.uint16
    shown = [3, None, None]
    assert result.metadata[ORIGINS_KEY]["content"]["index"] == shown
    again = execute("stylize_layers", result, [paint], QUICK, intensities="displayed")
    assert again.name == "stack x paint x paint"
    assert again.rgb


def test_the_shown_plane_is_taken_if_layers_have_different_units(viewer: Any, stack: Any) -> None:
    stack.units = ("um", "um", "um")
    for layer in viewer.layers[:2]:
        layer.units = ("nm", "nm")
    viewer.dims.set_current_step(0, 2)
    shown = int(stack._data_view[3, 4])
    result = execute("stylize_layers", stack, viewer.layers["paint"], QUICK)
    place = result.metadata[ORIGINS_KEY]["content"]["index"][0]
    assert stack.data[place, 3, 4] == shown
    assert place == 2


def test_a_layer_with_the_name_of_the_result_is_unchanged(viewer: Any, stack: Any) -> None:
    mine = viewer.add_image(np.zeros((9, 9)), name="stack x paint")
    result = execute("stylize_layers", stack, viewer.layers["paint"], QUICK)

    assert mine in viewer.layers
    assert mine.name == "stack x paint"
    assert mine.data.shape == (9, 9)
    assert result in viewer.layers
    assert result.name == "stack x paint [1]"


def test_selected_layers_are_the_default(viewer: Any) -> None:
    viewer.layers.selection = {viewer.layers["photo"], viewer.layers["paint"]}
    result = execute("stylize_layers", settings=QUICK)
    assert result.name == "photo x paint"
    viewer.layers.selection = {viewer.layers["photo"]}
    with pytest.raises(InputError, match="Two images are needed"):
        execute("stylize_layers", settings=QUICK)


def test_the_active_result_is_continued_with_its_settings(viewer: Any, stack: Any) -> None:
    paint = viewer.layers["paint"]
    first = execute("stylize_layers", stack, paint, QUICK, intensities="percentiles")
    viewer.layers.selection.active = first
    second = execute("continue_layer")

    assert second.name == "stack x paint [1]"
    record = second.metadata["napari_nst"]
    assert record["settings"]["init"] == "image"
    assert record["settings"]["iterations"] == 2
    assert second.metadata[ORIGINS_KEY]["content"]["intensities"] == "percentiles"
    assert second.metadata[ORIGINS_KEY]["init_image"]["layer"] == "stack x paint"
    viewer.layers.remove(paint)
    with pytest.raises(InputError, match="was made of paint, and no layer has its pixels"):
        execute("continue_layer")
    viewer.layers.selection.active = viewer.layers["photo"]
    with pytest.raises(InputError, match="photo has no record of a run"):
        execute("continue_layer")


def test_commands_work_without_a_viewer() -> None:
    data = np.random.default_rng(0).random((32, 36))
    one, two = Image(data, name="one"), Image(data[::-1], name="two")
    result = PluginManager.instance().commands.execute(
        "napari-nst.stylize_layers", (one, two, QUICK)
    )
    assert result.name == "one x two"
    assert continue_layer(result, one, two, QUICK).name == "one x two"
    with pytest.raises(InputError, match="Two images are needed"):
        stylize_layers()
    with pytest.raises(InputError, match="There is no result"):
        continue_layer()
