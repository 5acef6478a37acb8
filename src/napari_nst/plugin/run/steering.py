"""What the user changes while a run goes on, handed to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.run.job import Wish
from napari_nst.plugin.run.session import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels, Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_nst.plugin.run.job import Job
    from napari_nst.plugin.run.session import Session
    from napari_nst.plugin.widgets.controls import Controls
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Steering"]

_MILLISECONDS = 150  # of calm before a wish is handed on
_STEERABLE = (
    "content_weight",
    "style_weight",
    "tv_weight",
    "style_weights",
    "color",
    "region_styles",
    "region_guidance",
    "region_softness",
)


class Steering:
    """Compares the controls with what the run has, and wishes for the difference.

    Layers that vanish are not wished for: deleting a style changes what the controls show, and
    nothing of the run.

    Parameters
    ----------
    viewer : Viewer
        Whose layers they are.
    controls : Controls
        What the user changes.
    session : Session
        The run.
    parent : QWidget
        Which the timer belongs to.
    """

    noticed = Signal(str)

    def __init__(
        self, viewer: Viewer, controls: Controls, session: Session, parent: QWidget
    ) -> None:
        self._viewer, self._controls, self._session = viewer, controls, session
        self._settings: StyleTransferSettings | None = None
        self._job: Job | None = None
        self._styles: list[Layer | None] = []
        self._labels: list[Labels | None] = []
        self._painted = False
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS)
        self._timer.timeout.connect(self.act)
        controls.changed.connect(self._plan)
        controls.regions.painted.connect(self._on_painted)

    def begin(self, job: Job) -> None:
        """Take the controls as they are for what the run has."""
        self._job = job
        self._settings, self._painted = self._controls.settings, False
        self.accept()

    def end(self) -> None:
        """Wish for nothing any more."""
        self._timer.stop()
        self._job = self._settings = None
        self._styles, self._labels = [], []

    def accept(self) -> None:
        """Take what the layer choices have become by themselves for what the run has."""
        if self._settings is None:
            return
        self._styles, self._labels = self._controls.styles.layers, self._chosen_labels()
        self._settings = self._settings.replace(region_styles=self._controls.regions.region_styles)

    def act(self) -> None:
        """Hand on what has changed since."""
        job, before = self._job, self._settings
        if job is None or before is None or self._session.state is State.STOPPING:
            return
        try:
            settings = self._controls.settings
            wish = self._wish(job, before, settings)
        except InputError as error:
            self.noticed.emit(str(error))
            return
        fixed = [
            name
            for name in type(settings).model_fields
            if name not in _STEERABLE and getattr(settings, name) != getattr(before, name)
        ]
        self._settings = settings
        self._styles, self._labels = self._controls.styles.layers, self._chosen_labels()
        self._session.steer(wish)
        if fixed:
            field = self._controls.fields.get(fixed[0])
            label = field.widget.label.replace("&", "") if field else fixed[0]
            self.noticed.emit(f"{label}: this acts on the next run, not on the one that goes on.")

    def _wish(
        self, job: Job, before: StyleTransferSettings, settings: StyleTransferSettings
    ) -> Wish:
        choices: dict[str, Any] = {
            name: getattr(settings, name)
            for name in _STEERABLE
            if getattr(settings, name) != getattr(before, name)
        }
        styles = None
        layers = self._controls.styles.layers
        if _differ(layers, self._styles):
            styles = tuple(
                take_plane(
                    layer,
                    self._viewer.dims,
                    max(job.content.shape),
                    intensities=job.content.intensities,
                )
                for layer in layers
                if layer is not None
            )
            choices["style_weights"] = settings.style_weights
        labels = self._chosen_labels()
        of_content = of_styles = None
        if self._painted or _differ(labels, self._labels) or (styles and labels[0]):
            of_content, of_styles = self._controls.regions.take(job.content, styles or job.styles)
        self._painted = False
        removed = labels[0] is None and bool(self._labels) and self._labels[0] is not None
        return Wish(styles, of_content, of_styles, removed, choices)

    def _chosen_labels(self) -> list[Labels | None]:
        regions = self._controls.regions
        return [combo.value for combo in (regions.content_labels, *regions.style_labels)]

    def _plan(self) -> None:
        if self._job is not None:
            self._timer.start()

    def _on_painted(self) -> None:
        if self._job is not None:
            self._painted = True
            self.act()


def _differ(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) != len(others) or any(a is not b for a, b in zip(some, others, strict=True))
