"""What the user chooses, as magicgui controls, and what that comes to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LogSlider, SpinBox, create_widget
from napari.layers import Image

from napari_nst import speed
from napari_nst.engine import costs
from napari_nst.errors import InputError
from napari_nst.plugin.layers import take_plane
from napari_nst.plugin.session import Job
from napari_nst.plugin.words import duration
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from napari.components import Dims

__all__ = ["Controls"]

_DEFAULTS = StyleTransferSettings()


class Controls:
    """Content, style, style strength, size and iterations.

    Attributes
    ----------
    container : Container
        The controls, one below the other.
    content, style : ComboBox
        Of the viewer's image layers.
    strength : LogSlider
        A factor of the default style weight.
    size : SpinBox
        The longest side worked at; 0 is automatic.
    iterations : SpinBox
        In total.
    """

    def __init__(self) -> None:
        self._told_apart = False
        self.content = _layer_choice("Content", "The picture whose things and places are kept.")
        self.style = _layer_choice(
            "Style", "The picture whose colours, strokes and textures are taken."
        )
        self.strength = _control(
            LogSlider,
            "Style strength",
            "How far the style goes: 1 is balanced, more dissolves the content.",
            value=1,
            min=0.1,
            max=10,
        )
        self.size = _control(
            SpinBox,
            "Size (px)",
            "The longest side worked at.  Time and memory grow with its square.  Automatic: the "
            "content's own, at most 512 on a processor and 1024 on a GPU.",
            value=0,
            min=0,
            max=20000,
            step=64,
        )
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
        self.container = Container(
            widgets=[self.content, self.style, self.strength, self.size, self.iterations]
        )
        self.container.native.layout().setContentsMargins(0, 0, 0, 0)

    @property
    def settings(self) -> StyleTransferSettings:
        """The settings that the controls say."""
        return _DEFAULTS.replace(
            style_weight=_DEFAULTS.style_weight * self.strength.value,
            size=self.size.value or "auto",
            iterations=self.iterations.value,
        )

    def job(self, dims: Dims) -> Job:
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
            longest = costs.automatic_size(_likely_device())
        content, style = (take_plane(layer, dims, longest) for layer in layers)
        return Job(content, (style,), settings)

    def estimate(self, dims: Dims) -> str:
        """Return in a sentence what a run will take, or why there can be none."""
        try:
            job = self.job(dims)
        except InputError as error:
            return str(error)
        device = _likely_device()
        scale = costs.scales_for(job.settings, *job.content.shape, device)[-1]
        cost = costs.cost(job.settings, *job.content.shape, device)
        rate, measured = speed.recall(device)
        return (
            f"{scale.width} x {scale.height} px will take {'about' if measured else 'roughly'} "
            f"{duration(cost.operations / rate)} and {cost.memory / 2**30:.1f} GiB of memory."
        )

    def reset_choices(self) -> None:
        """Bring the layer choices up to date; two that would agree are told apart once."""
        self.container.reset_choices()
        choices = list(self.style.choices)
        if len(choices) > 1 and not self._told_apart:
            self._told_apart = True  # from now on the user may choose one layer for both
            if self.style.value is self.content.value:
                self.style.value = next(c for c in choices if c is not self.content.value)


def _control(kind: type[Any], label: str, tooltip: str, **options: Any) -> Any:
    control = kind(label=label, tooltip=tooltip, **options)
    control.native.setAccessibleName(label)
    return control


def _layer_choice(label: str, tooltip: str) -> ComboBox:
    choice: Any = create_widget(annotation=Image, label=label, options={"tooltip": tooltip})
    choice.native.setAccessibleName(label)
    return choice  # type: ignore[no-any-return]


def _likely_device() -> str:
    """Return the kind of device a run will probably have, without importing torch for it."""
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
