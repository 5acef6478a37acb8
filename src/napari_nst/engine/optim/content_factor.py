"""Control of the content weight: keep as much of the content's structure with every style.

With fixed weights, a painting leaves most of a photograph's structure, and another photograph half
of it.  So a factor of the content weight follows the agreement that `losses.structure` measures: a
proportional and integral controller in the logarithm of the factor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from napari_nst.engine.optim.schedule import COARSE_CONTENT_WEIGHT

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.settings import StyleTransferSettings

__all__ = ["LARGEST_FACTOR", "MEASURE_EVERY", "ContentFactor", "smallest_agreement"]

LARGEST_FACTOR = 10.0
"""Limit of the factor: more leaves hardly any style."""

MEASURE_EVERY = 4
"""Iterations from one measurement of the agreement to the next, which starts many kernels."""

# Gains for each measurement and unit of agreement.  An image answers within about ten iterations,
# so a faster integral oscillates.  The factor starts high, because objects of the style, once
# drawn, do not leave; it falls faster than it rises, so that it is low when details are drawn.
_PROPORTIONAL = 1.5
_RISE, _FALL = 0.8, 1.8

_BALANCED = 10.0  # style weight by content weight, of the default


def smallest_agreement(settings: StyleTransferSettings) -> float:
    """Return the agreement to keep, from 0 to 1.

    It is `kept_structure` at the default weights.  Its odds are divided by the strength: at ten
    times the style weight, or at a tenth of the content weight, they are a tenth.
    """
    strength = settings.style_weight / (_BALANCED * settings.content_weight)
    kept = settings.kept_structure
    return kept / (kept + (1 - kept) * strength)


class ContentFactor:
    """Factor of the content weight during a run.

    Attributes
    ----------
    factor : Tensor
        Shape (): factor of the next evaluation.  The first is that of small scales.
    integral : Tensor
        Shape (): integral part of its logarithm.
    """

    def __init__(self) -> None:
        self.factor = torch.tensor(float(COARSE_CONTENT_WEIGHT))
        self.integral = self.factor.log()

    def move_to(self, device: torch.device) -> None:
        """Move the factor to a device."""
        self.factor, self.integral = self.factor.to(device), self.integral.to(device)

    def update(self, agreement: Tensor, target: float, lowest: float) -> None:
        """Change the factor after a measurement, without waiting for the device.

        Parameters
        ----------
        agreement : Tensor
            Agreement with the content's structure, shape ().
        target : float
            Smallest agreement to keep.
        lowest : float
            Lower limit of the factor: its value without control.
        """
        low, high = math.log(lowest), math.log(LARGEST_FACTOR)
        missing = target - agreement.float()
        moved = self.integral.add(missing, alpha=_RISE)
        # What is too much counts with the other gain.
        self.integral = moved.add_(missing.clamp_max(0), alpha=_FALL - _RISE).clamp_(low, high)
        self.factor = self.integral.add(missing, alpha=_PROPORTIONAL).clamp_(low, high).exp_()
