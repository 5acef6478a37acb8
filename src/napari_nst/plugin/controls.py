"""What the user chooses, as magicgui controls, and what that comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSpinBox, Slider, SpinBox
from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_nst import speed
from napari_nst.engine import costs
from napari_nst.errors import InputError
from napari_nst.plugin.layers import take_plane
from napari_nst.plugin.session import Job
from napari_nst.plugin.words import duration
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Controls"]

_DEFAULTS = StyleTransferSettings()
_BALANCED = 50  # the middle of the slider, where the style weight is the default's


class Controls:
    """Content, style, style strength, size and iterations.

    Parameters
    ----------
    viewer : Viewer
        Whose layers and planes they are about.

    Attributes
    ----------
    device : str
        The kind of device that a run will have, as far as is known without torch.
    native : QWidget
        The controls, one below the other.
    changed : Signal
        Emitted when any of them changes.
    content, style : ComboBox
        Of the viewer's image layers.
    strength : Slider
        From 0 to 100: 50 is the default style weight, 100 ten times as much.
    size : FloatSpinBox
        The longest side worked at; 0 is automatic.
    iterations : SpinBox
        In total.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._told_apart = False
        self.device = "cpu"
        self.content = _control(
            ComboBox,
            "Content",
            "The picture whose things and places are kept.",
            choices=self._images,
            nullable=False,
        )
        self.style = _control(
            ComboBox,
            "Style",
            "The picture whose colours, strokes and textures are taken.",
            choices=self._images,
            nullable=False,
        )
        self.strength = _control(
            Slider,
            "Style strength",
            "How far the style goes: 50 is balanced, more dissolves the content.  It acts on a "
            "run that goes on, too.",
            value=_BALANCED,
            min=0,
            max=2 * _BALANCED,
        )
        self.size = _control(
            FloatSpinBox,  # the one that can show a word for its lowest value
            "Size (px)",
            "The longest side worked at.  Time and memory grow with its square.  Automatic: the "
            "content's own, at most 512 on a processor and 1024 on a GPU.",
            value=0,
            min=0,
            max=20000,
            step=64,
        )
        self.size.native.setDecimals(0)
        self.size.native.setSpecialValueText("automatic")
        self.iterations = _control(
            SpinBox,
            "Iterations",
            "How often the picture is improved, over all sizes.  Few make a draft.",
            value=_DEFAULTS.iterations,
            min=1,
            max=100000,
            step=20,
        )
        self.native = QWidget()
        form = QFormLayout(self.native)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for control in (self.content, self.style, self.strength, self.size, self.iterations):
            form.addRow(control.label, control.native)
            control.changed.connect(lambda _: self.changed.emit())
        self.reset_choices()

    @property
    def style_weight(self) -> float:
        """The style weight that the slider says."""
        return _DEFAULTS.style_weight * float(10 ** (self.strength.value / _BALANCED - 1))

    @property
    def settings(self) -> StyleTransferSettings:
        """The settings that the controls say."""
        return _DEFAULTS.replace(
            style_weight=self.style_weight,
            size=int(self.size.value) or "auto",
            iterations=self.iterations.value,
        )

    def job(self) -> Job:
        """Return what is to be done to the layers as the viewer shows them now.

        Raises
        ------
        InputError
            If no layer is chosen, or one cannot be used.
        """
        layers = [self.content.value, self.style.value]
        if None in layers:
            raise InputError(
                "There is no image layer: open a picture, or one of File > Open Sample > "
                "Neural style transfer."
            )
        settings = self.settings
        longest = settings.size
        if longest == "auto":
            longest = costs.automatic_size(self.device)
        content, style = (take_plane(layer, self._viewer.dims, longest) for layer in layers)
        return Job(content, (style,), settings)

    def estimate(self) -> str:
        """Return in a sentence what a run will take, or why there can be none."""
        try:
            job = self.job()
        except InputError as error:
            return str(error)
        scale = costs.scales_for(job.settings, *job.content.shape, self.device)[-1]
        styles = [style.shape for style in job.styles]
        cost = costs.cost(job.settings, *job.content.shape, self.device, styles)
        rate, measured = speed.recall(self.device)
        return (
            f"{scale.width} x {scale.height} px will take {'about' if measured else 'roughly'} "
            f"{duration(cost.operations / rate)} and {cost.memory / 2**30:.1f} GiB of memory."
        )

    def reset_choices(self) -> None:
        """Bring the layer choices up to date; two that would agree are told apart once."""
        self.content.reset_choices()
        self.style.reset_choices()
        choices = list(self.style.choices)
        if len(choices) > 1 and not self._told_apart:
            self._told_apart = True  # from now on the user may choose one layer for both
            if self.style.value is self.content.value:
                self.style.value = next(c for c in choices if c is not self.content.value)

    def _images(self, _: object = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]


def _control(kind: type[Any], label: str, tooltip: str, **options: Any) -> Any:
    control = kind(label=label, tooltip=tooltip, **options)
    control.native.setAccessibleName(label)
    return control
