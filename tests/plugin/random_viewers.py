"""Random viewers for property tests: units, transforms, orders of axes, thick slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from napari.components import ViewerModel

SCALES = (0.1, 0.25, 0.5, 1, 2, 3.7)
LENGTHS = {"um": 1.0, "nm": 1e-3, "mm": 1e3}
TIMES = {"s": 1.0, "ms": 1e-3}
SIZES = LENGTHS | TIMES | {"pixel": 1.0}


def in_units_of(world: Any, units: Any, new_units: Any) -> np.ndarray:
    """Convert world coordinates to other units."""
    size = {unit: SIZES[name] for name, unit in NAMES.items()}
    ratio = [size[str(a)] / size[str(b)] for a, b in zip(units, new_units, strict=True)]
    return np.asarray(world) * ratio


NAMES = {
    "um": "micrometer", "nm": "nanometer", "mm": "millimeter", "s": "second",
    "ms": "millisecond", "pixel": "pixel",
}  # fmt: skip


@st.composite
def transforms(draw: st.DrawFn, ndim: int, shown: Any, *, units: bool = True) -> dict[str, Any]:
    """Draw scale, translation, affine and units of a layer with pixels of about 1 um or 1 s."""
    if units:
        names = [
            draw(st.sampled_from(list(LENGTHS if axis >= ndim - 3 else TIMES)))
            for axis in range(ndim)
        ]
    else:
        names = ["pixel"] * ndim
    sizes = np.array([SIZES[name] for name in names])
    signs = [draw(st.sampled_from((1, 1, -1))) for _ in range(ndim)]
    affine = np.eye(ndim + 1)
    axes = [axis for axis in range(ndim) if axis - ndim in shown]
    if len(axes) == 2 and names[axes[0]] == names[axes[1]] and draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 999)))
        affine[np.ix_(axes, axes)] += rng.uniform(-0.7, 0.7, (2, 2))
    return {
        "scale": [draw(st.sampled_from(SCALES)) for _ in range(ndim)] / sizes * signs,
        "translate": [draw(st.floats(-2, 5)) for _ in range(ndim)] / sizes,
        "affine": affine,
        "units": names,
    }


@st.composite
def viewers(draw: st.DrawFn, kinds: str = "ii") -> tuple[ViewerModel, list[Any]]:
    """Draw a viewer with image layers (i) and labels (l), some with a thick slice."""
    viewer = ViewerModel()
    layers = []
    deepest = draw(st.integers(2, 5))
    order = tuple(draw(st.permutations(range(deepest))))
    shown = {axis - deepest for axis in order[-2:]}
    have_units = [draw(st.sampled_from((True, True, False)))] * len(kinds)
    if draw(st.integers(0, 4)) == 0:
        have_units[-1] = not have_units[-1]  # mixed units, which napari does not convert
    for kind, units in zip(kinds, have_units, strict=True):
        ndim = deepest if not layers else draw(st.integers(2, deepest))
        shape = tuple(draw(st.integers(2, 5)) for _ in range(ndim))
        place = draw(transforms(ndim, shown, units=units))
        if kind == "i":
            rgb = draw(st.sampled_from((False, False, True)))
            full = (*shape, 3) if rgb else shape
            data = np.arange(np.prod(full), dtype=np.uint16).reshape(full)
            mode = draw(st.sampled_from(("none", "mean", "max", "min", "sum")))
            layers.append(
                viewer.add_image(
                    data, rgb=rgb, projection_mode=mode, contrast_limits=(0, 65535), **place
                )
            )
        else:
            data = np.arange(1, np.prod(shape) + 1, dtype=np.uint16).reshape(shape)
            layers.append(viewer.add_labels(data, **place))
    viewer.dims.order = order
    for axis in order[:-2]:
        steps = int(min(viewer.dims.nsteps[axis], 10_000))
        viewer.dims.set_current_step(axis, draw(st.integers(0, max(steps - 1, 0))))
        # A thick slice of a layer with a negative scale is empty in napari.
        reversed_axis = any(
            layer.scale[axis - deepest] < 0 for layer in layers if layer.ndim >= deepest - axis
        )
        if not reversed_axis and draw(st.booleans()):
            step = viewer.dims.range[axis].step
            for side in ("margin_left", "margin_right"):
                margin = step * draw(st.floats(0, 6))
                setattr(viewer.dims, side, _replace_at(getattr(viewer.dims, side), axis, margin))
    return viewer, layers


def _replace_at(values: tuple[float, ...], axis: int, value: float) -> tuple[float, ...]:
    return (*values[:axis], value, *values[axis + 1 :])
