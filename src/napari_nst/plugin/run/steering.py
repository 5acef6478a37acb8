"""Forward changes of the controls to the current run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nst.engine.run.updates import STEERABLE, SettingsUpdate
from napari_nst.errors import InputError
from napari_nst.plugin.layers.arrays import take_plane
from napari_nst.plugin.run.layer_jobs import take_labels_on
from napari_nst.plugin.run.session import State
from napari_nst.plugin.run.stack_run import labels_along

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels, Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_nst.plugin.layers.arrays import Plane
    from napari_nst.plugin.layers.labels import LabelsPlane
    from napari_nst.plugin.run.job import Job
    from napari_nst.plugin.run.session import Session
    from napari_nst.plugin.widgets.controls import Controls
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Steering"]

_DEBOUNCE_MILLISECONDS = 150


class Steering:
    """Compares the controls with the current run, and steers it to the difference.

    Removed layers are ignored: deleting a style changes the controls, but not the run.

    Parameters
    ----------
    viewer : Viewer
        Viewer of the layers.
    controls : Controls
        Controls of the panel.
    session : Session
        Session of the run.
    parent : QWidget
        Parent of the timer.

    Attributes
    ----------
    info : Signal
        Emitted with a sentence when a change cannot affect the current run.
    """

    info = Signal(str)

    def __init__(
        self, viewer: Viewer, controls: Controls, session: Session, parent: QWidget
    ) -> None:
        self._viewer, self._controls, self._session = viewer, controls, session
        # The baseline: what the run has, as the controls showed it.
        self._settings: StyleTransferSettings | None = None
        self._styles: list[Layer | None] = []
        self._labels: list[Labels | None] = []
        self._job: Job | None = None
        self._painted = False
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DEBOUNCE_MILLISECONDS)
        self._timer.timeout.connect(self.flush)
        controls.changed.connect(self._on_changed)
        controls.regions.painted.connect(self._on_painted)

    def begin(self, job: Job) -> None:
        """Take the current controls as the baseline of a new run."""
        self._job = job
        self._settings, self._painted = self._controls.settings, False
        self.sync_baseline()

    def end(self) -> None:
        """Forget the run, which has ended."""
        self._timer.stop()
        self._job = self._settings = None
        self._styles, self._labels = [], []

    def sync_baseline(self) -> None:
        """Ignore what changed in the layer choices, because layers were added or removed."""
        if self._settings is None:
            return
        self._styles, self._labels = self._controls.styles.layers, self._chosen_labels()
        self._settings = self._settings.replace(region_styles=self._controls.regions.region_styles)

    def flush(self) -> None:
        """Steer the run to the current controls."""
        job, before = self._job, self._settings
        if job is None or before is None or self._session.state is State.STOPPING:
            return
        try:
            settings = self._controls.settings
            update, planes = self._update(job, before, settings)
        except InputError as error:
            self.info.emit(str(error))
            return
        fixed = [
            name
            for name in type(settings).model_fields
            if name not in STEERABLE and getattr(settings, name) != getattr(before, name)
        ]
        self._settings = settings
        self._styles, self._labels = self._controls.styles.layers, self._chosen_labels()
        self._session.steer(update, planes)
        if fixed:
            field = self._controls.fields.get(fixed[0])
            label = field.widget.label.replace("&", "") if field else fixed[0]
            self.info.emit(f"{label}: this affects the next run, not the current one.")

    def _update(
        self, job: Job, before: StyleTransferSettings, settings: StyleTransferSettings
    ) -> tuple[SettingsUpdate, list[Plane | LabelsPlane]]:
        """Return the change since the baseline, and the planes of layers that it reads."""
        choices: dict[str, Any] = {
            name: getattr(settings, name)
            for name in STEERABLE
            if getattr(settings, name) != getattr(before, name)
        }
        changes: dict[str, Any] = {}
        styles = job.styles
        planes: list[Plane | LabelsPlane | None] = []
        layers = self._controls.styles.layers
        new_styles = _differ(layers, self._styles)
        if new_styles:
            styles = tuple(self._take_style(layer, job) for layer in layers if layer is not None)
            planes += styles
            choices["style_weights"] = settings.style_weights
            changes["styles"] = [style.load for style in styles]
            changes["names"] = [style.name for style in styles]
        labels = self._chosen_labels()
        if self._painted or _differ(labels, self._labels) or (new_styles and labels[0]):
            on_content, on_styles = take_labels_on(
                job.content, styles, *self._controls.regions.chosen_labels
            )
            planes += [on_content, *(on_styles or ())]
            if on_content is not None:
                along = job.stack is not None
                changes["content_labels"] = (
                    partial(labels_along, job, on_content) if along else on_content.load
                )
            if on_styles is not None:
                changes["style_labels"] = [own and own.load for own in on_styles]
        self._painted = False
        if labels[0] is None and self._labels and self._labels[0] is not None:
            changes |= {"content_labels": None, "style_labels": None}
        return SettingsUpdate(choices, **changes), [plane for plane in planes if plane is not None]

    def _take_style(self, layer: Layer, job: Job) -> Plane:
        return take_plane(
            layer,
            self._viewer.dims,
            max(job.content.shape),
            intensities=job.content.intensities,
        )

    def _chosen_labels(self) -> list[Labels | None]:
        regions = self._controls.regions
        return [combo.value for combo in (regions.content_labels, *regions.style_labels)]

    def _on_changed(self) -> None:
        if self._job is not None:
            self._timer.start()

    def _on_painted(self) -> None:
        if self._job is not None:
            self._painted = True
            self.flush()


def _differ(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) != len(others) or any(a is not b for a, b in zip(some, others, strict=True))
