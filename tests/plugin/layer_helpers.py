"""Helpers for tests of layers, and of the code that reproduces a result layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image


def add_pictures(viewer: Any) -> None:
    """Add a content and a style layer to a viewer."""
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8), name="photo", rgb=True)
    viewer.add_image(rng.integers(0, 255, (44, 36, 3), dtype=np.uint8), name="paint", rgb=True)


def open_without_dock(panel: Any, viewer: Any, qtbot: Any) -> None:
    """Let a panel follow the layers, as napari does for one in a dock, and close after the test."""
    qtbot.addWidget(panel)
    for name in ("inserted", "removed", "reordered", "renamed"):
        getattr(viewer.layers.events, name).connect(panel.reset_choices)


def result_layer(plane: Any, data: np.ndarray) -> Image:
    """Return the layer of a result of a plane."""
    return Image(data, **plane.layer_kwargs(data.shape))


def outer_corners(layer: Any) -> np.ndarray:
    """Return the world coordinates of the first and the last corner of a layer."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    shape = np.array(data.shape[: layer.ndim])
    ends = np.full(layer.ndim, -0.5), shape - 0.5
    return np.array([layer.data_to_world(end) for end in ends])


def run_python(text: str, viewer: Any = None) -> np.ndarray:
    """Run copied Python code, and return its picture."""
    names: dict[str, Any] = {} if viewer is None else {"viewer": viewer}
    exec(compile(text, "copied", "exec"), names)
    return np.asarray(names["picture"])
