"""Temporal loss: difference to the previous image of a stack, carried along the motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst.engine.losses.terms import ContentTerm

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.engine.images.reliability import TemporalTarget

__all__ = ["temporal_term"]


def temporal_term(image: Tensor, target: TemporalTarget) -> ContentTerm:
    """Return the weighted sum of squared differences to a target, and its gradient.

    Section 4.2 of Ruder, Dosovitskiy and Brox (arXiv 1604.08610), without the factor 1 / D.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W).
    target : TemporalTarget
        Of the same height and width.
    """
    difference = image - target.image
    gradient = difference * target.reliability
    return ContentTerm(difference.mul_(gradient).sum(), gradient.mul_(2))
