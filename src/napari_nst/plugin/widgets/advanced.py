"""The choices that few need: one below the other, each from its setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_nst.plugin.widgets.fields import Field, control, field

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Advanced"]

# The setting, its label and its explanation.
_PLAIN = (
    (
        "content_weight",
        "Content weight",
        "How firmly the content is held.  It acts on a run that goes on, too.",
    ),
    (
        "style_loss",
        "Style loss",
        "How the style is compared.  gram: the paper's way.  gram+moments: holds brightness and "
        "contrast, too.  wasserstein: paints best and takes longest.",
    ),
    (
        "style_scale",
        "Stroke size",
        "1: the style is as large as the content; larger makes larger strokes.  One number, or "
        "one for each style with commas between.",
    ),
    ("network", "Network", "What looks at the pictures.  VGG-19, the paper's, must be fetched."),
    ("optimizer", "Optimizer", "How the picture moves.  adam: steady.  lbfgs: the paper's."),
    (
        "learning_rate",
        "Learning rate",
        "The length of a step.  automatic: 0.038 for adam, 1 for lbfgs.",
    ),
    ("scales", "Sizes", "How many sizes the picture grows through: a number, or automatic."),
    ("seed", "Seed", "Of the noise that a run may begin with: the same seed, the same picture."),
    ("pooling", "Pooling", "Inside the network.  The paper found average more pleasing."),
    (
        "output_size",
        "Result's size",
        "content: as many pixels as the content.  working: as many as were worked at.",
    ),
    (
        "nan",
        "Missing pixels",
        "error: refuse a content with pixels that are not finite.  keep: fill them for the run, "
        "and put them back.",
    ),
    (
        "precision",
        "Precision",
        "Of the network.  bfloat16 is faster on machines that have it, and a little rougher.",
    ),
    (
        "tile",
        "Tiles (px)",
        "Large pictures are worked at in tiles, without seams.  automatic: as large as memory "
        "allows.  off: the whole at once.  Or the side of a tile.",
    ),
    (
        "memory_limit",
        "Memory (GiB)",
        "What a run may take.  automatic: what is free when it begins.",
    ),
)
_DEVICES = ("auto", "cpu", "cuda", "mps")
_INTENSITIES = (
    ("contrast limits", "limits"),
    ("percentiles", "percentiles"),
    ("as displayed", "displayed"),
)


class Advanced(QWidget):
    """Iterations, smoothness and everything else that has no place further up.

    Parameters
    ----------
    changed : callable
        Called when a control changes.

    Attributes
    ----------
    fields : dict of str to Field
        The settings.
    intensities : ComboBox
        What the values of the layers mean, which is no setting of the engine's.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self.fields: dict[str, Field] = {
            "iterations": field(
                "iterations",
                "Iterations",
                "How often the picture is improved, over all sizes.  Few make a draft.",
                min=1,
                step=20,
            ),
            "tv_weight": field(
                "tv_weight",
                "S&moothness",
                "0: every grain stays.  More: calmer surfaces.  It acts on a run that goes on, "
                "too.",
            ),
            "init": field(
                "init",
                "Begin with",
                "What the picture is before the first iteration.  To go on from a result, press "
                "Continue.",
                words={"content": "the content", "noise": "noise", "style": "the style"},
                without=("image",),
            ),
        }
        for name, label, tooltip in _PLAIN:
            self.fields[name] = field(name, label, tooltip)
        device = control(
            ComboBox,
            "Device",
            "Where it is computed.  auto: on the graphics card if there is one that torch can use.",
            choices=_DEVICES,
        )
        self.fields["device"] = Field("device", device, lambda value: _offer(device, value))
        self.intensities: Any = control(
            ComboBox,
            "Intensities",
            "What black and white are in a layer.  contrast limits: its own; or percentiles: 0.1 "
            "and 99.9 of the whole layer; either way grey gives grey, in its own range.  as "
            "displayed: gamma and colormap, too; then the result is in colour.",
            choices=_INTENSITIES,
        )
        self.intensities.changed.connect(lambda _: changed())
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for each in self.fields.values():
            form.addRow(each.widget.label, each.widget.native)
            each.widget.changed.connect(lambda _: changed())
        form.addRow(self.intensities.label, self.intensities.native)


def _offer(device: ComboBox, value: str) -> str:
    """Let a second card, which few have, be chosen once it was named."""
    if value not in device.choices:
        device.choices = (*device.choices, value)
    return value
