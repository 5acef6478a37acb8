"""Advanced settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QWidget

from napari_nst.plugin.widgets.fields import Field, control, field
from napari_nst.plugin.widgets.layouts import form_layout

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Advanced"]

# Setting, label and tooltip.
_PLAIN = (
    (
        "content_weight",
        "Content weight",
        "How closely the result keeps to the content.  Also acts on the current run.",
    ),
    (
        "kept_structure",
        "Kept structure",
        "How much of the content's structure stays with every style at a strength of 50, from 0 to "
        "below 1.  0: what the weights leave.  Also acts on the current run.",
    ),
    (
        "style_loss",
        "Style loss",
        "How styles are compared.  gram: as in the paper.  gram+moments: brightness and contrast, "
        "too.  wasserstein: best texture, slowest.",
    ),
    (
        "style_scale",
        "Stroke size",
        "Size of the style relative to the content, or to 512 pixels if strokes are fixed: 1 is "
        "the same size, more gives larger strokes.  One number, or one for each style, separated "
        "by commas.",
    ),
    (
        "strokes_relative_to",
        "Strokes",
        "Strokes in small and large pictures.  grow with size: always the same part of the "
        "picture.  fixed in pixels: as many pixels as at a size of 512, so that a larger picture "
        "has more and finer strokes.",
    ),
    (
        "network",
        "Network",
        "Network whose features are compared.  VGG-19, as in the paper, must be downloaded.",
    ),
    ("optimizer", "Optimizer", "adam: steady.  lbfgs: as in the paper."),
    (
        "learning_rate",
        "Learning rate",
        "Size of a step.  automatic: 0.038 for adam, 1 for lbfgs.",
    ),
    ("scales", "Sizes", "Number of sizes, from coarse to fine: a number, or automatic."),
    ("seed", "Seed", "Random seed of the noise: the same seed gives the same image."),
    ("pooling", "Pooling", "Pooling layers of the network.  The paper prefers average."),
    (
        "output_size",
        "Result's size",
        "content: as many pixels as the content.  working: the size of the run.",
    ),
    (
        "nan",
        "Missing pixels",
        "error: refuse a content with pixels that are not finite.  keep: fill them for the run, "
        "and restore them in the result.",
    ),
    (
        "precision",
        "Precision",
        "Precision of the network.  bfloat16 is faster where supported, and slightly less exact.",
    ),
    (
        "tile",
        "Tiles (px)",
        "Large images are processed in tiles, without seams.  automatic: as large as memory "
        "allows.  off: no tiles.  Or the side of a tile.",
    ),
    (
        "memory_limit",
        "Memory (GiB)",
        "Memory that a run may use.  automatic: the free memory at its start.",
    ),
)
_WORDS = {
    "strokes_relative_to": {"picture": "grow with size", "pixels": "fixed in pixels"},
}
_DEVICES = ("auto", "cpu", "cuda", "mps")
_INTENSITIES = (
    ("contrast limits", "limits"),
    ("percentiles", "percentiles"),
    ("as displayed", "displayed"),
)


class Advanced(QWidget):
    """Form of the settings that few users need.

    Parameters
    ----------
    changed : callable
        Called when a control changes.

    Attributes
    ----------
    fields : dict of str to Field
        The settings.
    intensities : ComboBox
        How values of layers become black and white; no setting of the engine.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.fields: dict[str, Field] = {
            "iterations": field(
                "iterations",
                "Iterations",
                "Number of optimizer steps over all sizes.  Few give a draft.",
                min=1,
                step=20,
            ),
            "tv_weight": field(
                "tv_weight",
                "S&moothness",
                "0: keeps all grain.  More: smoother surfaces.  Also acts on the current run.",
            ),
            "init": field(
                "init",
                "Begin with",
                "Image before the first iteration.  To start from a result, press Continue.",
                words={"content": "the content", "noise": "noise", "style": "the style"},
                without=("image",),
            ),
        }
        for name, label, tooltip in _PLAIN:
            self.fields[name] = field(name, label, tooltip, words=_WORDS.get(name))
        device = control(
            ComboBox,
            "Device",
            "Device for the computation.  auto: a GPU if torch can use one.",
            choices=_DEVICES,
        )
        self.fields["device"] = Field("device", device, lambda value: _offer(device, value))
        self.intensities: Any = control(
            ComboBox,
            "Intensities",
            "Values that are black and white.  contrast limits: those of the layer.  percentiles: "
            "0.1 and 99.9 of the whole layer.  With both, grey layers give grey results in their "
            "own range.  as displayed: with gamma and colormap; the result is RGB.",
            choices=_INTENSITIES,
        )
        form = form_layout(self)
        for widget in (*(each.widget for each in self.fields.values()), self.intensities):
            form.addRow(widget.label, widget.native)
            widget.changed.connect(lambda _: changed())


def _offer(device: ComboBox, value: str) -> str:
    """Add a device that settings name, such as a second GPU, to the choices."""
    if value not in device.choices:
        device.choices = (*device.choices, value)
    return value
