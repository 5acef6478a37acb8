"""Make a job from the controls and the layers that the viewer shows, and estimate its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst import speed
from napari_nst.durations import format_duration
from napari_nst.engine.optim.sizes import automatic_size, scales_for
from napari_nst.engine.resources import costs
from napari_nst.errors import InputError
from napari_nst.plugin.layers.geometry import View, canvas_corners, visible_part
from napari_nst.plugin.provenance.finding import RunInputs, origin_of
from napari_nst.plugin.run.layer_jobs import (
    LayerPlane,
    check_init_image,
    job_from_layers,
    with_labels,
)
from napari_nst.plugin.run.stack_costs import result_bytes, stack_cost, stays_in_memory
from napari_nst.presets import preset

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_nst.plugin.run.job import Job
    from napari_nst.plugin.widgets.controls import Controls

__all__ = ["JobMaker"]


class JobMaker:
    """Makes jobs from the panel's controls and the viewer's layers.

    Attributes
    ----------
    device : str
        Kind of device that a run will use, as far as is known without torch.
    """

    def __init__(self, viewer: Viewer, controls: Controls) -> None:
        self._viewer, self._controls = viewer, controls
        self.device = "cpu"

    def job(self, *, draft: bool = False, init_image: Image | None = None) -> Job:
        """Return the job for the layers as the viewer shows them now.

        Parameters
        ----------
        draft : bool
            Whether to take only the part on the canvas, with few iterations.
        init_image : Image, optional
            Result to continue from.

        Raises
        ------
        InputError
            If no layer is chosen, one cannot be used, or a setting is impossible.
        """
        controls, dims = self._controls, self._viewer.dims
        layers = [controls.content.value, *controls.styles.layers]
        if None in layers:
            raise InputError(
                "There is no image layer: open a picture, or one of File > Open Sample > "
                "napari-nst."
            )
        content, *styles = layers
        settings = controls.settings
        if draft:
            quick = preset("draft")
            settings = settings.replace(size=quick.size, iterations=quick.iterations)
        longest = settings.size
        if longest == "auto":
            longest = automatic_size(self.device)
        part = visible_part(content, dims, canvas_corners(self._viewer)) if draft else None
        stack = None if draft else controls.planes.stack
        if stack is not None and init_image is not None:
            raise InputError(
                f"Planes is {controls.planes.choice.current_choice!r}, and a run continues from "
                "the result of one plane: choose 'this plane'."
            )
        view = View.from_dims(dims)
        if stack is not None:  # each plane by itself, however thick the slice on the canvas
            view = view.without_thickness(stack.axis - content.ndim)
        job = job_from_layers(
            LayerPlane(content, view, part),
            [LayerPlane(style, dims) for style in styles],
            settings,
            longest=longest,
            intensities=controls.advanced.intensities.value,
            init_image=init_image,
            stack=stack,
        )
        if init_image is not None and job.init_image is not None:
            check_init_image(job.content, job.init_image)
            _check_same_content(content, init_image)
        job = with_labels(job, *controls.regions.chosen_labels)
        # The canvas may show a part without some of the labels, or a plane to which labels are
        # carried from the planes before it.
        carried = stack is not None and stack.start_from == "warped"
        if not draft and not (carried and not any(controls.regions.table.labels)):
            controls.regions.check()
        return job

    def estimate(self) -> str:
        """Return size, time and memory of a run in a sentence, or why it is impossible."""
        try:
            return self._estimate(self.job())
        except InputError as error:
            return str(error)

    def _estimate(self, job: Job) -> str:
        scale = scales_for(job.settings, *job.content.shape, self.device)[-1]
        planes = disk = ""
        if job.stack is not None:
            cost = stack_cost(job, self.device)
            planes = f"{job.content.data.shape[job.stack.axis]} planes of "
            if not stays_in_memory(job, self.device):
                size = result_bytes(job, self.device) / 2**30
                disk = f"  The result takes {size:.1f} GiB on disk."
        else:
            styles = [style.shape for style in job.styles]
            regions = len(job.settings.region_styles or "1") if job.content_labels else 0
            cost = costs.estimate(
                job.settings, *job.content.shape, self.device, styles, regions=regions
            )
        rate, measured = speed.load_speed(self.device, job.settings.allowed_precision)
        return (
            f"{planes}{scale.width} x {scale.height} px will take "
            f"{'about' if measured else 'roughly'} {format_duration(cost.operations / rate)} and "
            f"{cost.memory / 2**30:.1f} GiB of memory.{disk}"
        )


def _check_same_content(content: Image, result: Image) -> None:
    """Refuse a result of another layer than the content."""
    before = RunInputs.from_layer(result)
    if before.content.origins and origin_of(content, before.content) is None:
        raise InputError(
            f"{result.name} was made of {before.content.name}, and Content is {content.name}: "
            "choose the layer that it was made of, or Reuse settings."
        )
