"""Agreement of neighbouring planes: settings and cost of each plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast, get_args

from napari_nst.engine.optim.schedule import LEARNING_RATE
from napari_nst.engine.optim.sizes import scales_for
from napari_nst.engine.resources import costs
from napari_nst.engine.resources.costs import Cost
from napari_nst.errors import InputError, abridged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_nst.settings import StyleTransferSettings

__all__ = ["StartFrom", "check_start_from", "cost", "plane_settings"]

StartFrom = Literal["warped", "previous", "content"]

# Chosen by benchmarks/stacks.py.
_SHARES_OF_ITERATIONS = {"warped": 0.5, "previous": 0.4}
_FEWEST = 20  # iterations, if the first plane has as many
_SHARE_OF_RATE = 0.25


def check_start_from(start_from: str) -> StartFrom:
    """Return what planes start from, validated.

    Raises
    ------
    InputError
        If it is unknown.
    """
    if start_from not in get_args(StartFrom):
        raise InputError(
            f"start_from is {abridged(start_from)}; it must be 'warped', 'previous' or 'content'."
        )
    return cast("StartFrom", start_from)


def plane_settings(
    settings: StyleTransferSettings,
    plane: int,
    start_from: StartFrom,
    shape: tuple[int, int],
    device: str,
) -> StyleTransferSettings:
    """Return the settings of a plane.

    Parameters
    ----------
    settings : StyleTransferSettings
        Settings of the first plane, and of all planes with ``start_from="content"``.
    plane : int
        Index of the plane.
    start_from : {"warped", "previous", "content"}
        What a plane starts from.
    shape : tuple of int
        Height and width of a plane.
    device : str
        Kind of device: "cpu", "cuda" or "mps".

    Notes
    -----
    A plane that starts from the previous one has its composition.  Coarse scales would change it,
    so later planes begin at the scale of the strokes.  They have two fifths of the iterations (half
    of them with "warped", against the temporal loss), and a quarter of the learning rate: Adam's
    first steps move every pixel by the learning rate, however good the initial image is.
    """
    if plane == 0 or start_from == "content":
        return settings
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        rate = (rate or LEARNING_RATE) * _SHARE_OF_RATE
    iterations = max(round(settings.iterations * _SHARES_OF_ITERATIONS[start_from]), _FEWEST)
    return settings.replace(
        init="image",
        scales=sum(scale.role != "composition" for scale in scales_for(settings, *shape, device)),
        iterations=min(iterations, settings.iterations),
        learning_rate=rate,
    )


def cost(
    settings: StyleTransferSettings,
    height: int,
    width: int,
    device: str,
    styles: Iterable[tuple[int, int]] = (),
    *,
    planes: int,
    start_from: StartFrom = "previous",
) -> Cost:
    """Estimate time and memory of a stack, as `costs.estimate` does for one image.

    Parameters
    ----------
    settings, height, width, device, styles
        As for one plane.
    planes : int
        Number of planes, the first included.
    start_from : {"warped", "previous", "content"}
        What a plane starts from.
    """
    styles = tuple(styles)
    first, later = (
        costs.estimate(
            plane_settings(settings, plane, start_from, (height, width), device),
            height,
            width,
            device,
            styles,
            temporal=plane > 0 and start_from == "warped",
        )
        for plane in (0, 1)
    )
    operations = first.operations + (planes - 1) * later.operations
    return Cost(operations, max(first.memory, later.memory if planes > 1 else 0))
