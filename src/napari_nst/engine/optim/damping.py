"""Damping: style gradients in part averaged over the last evaluations.

All pixels respond to the same few statistics, so steps overshoot and oscillate. The oscillation
blurs the content and roughens the picture, and both recover slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["Damping"]

# Share of the current gradient, for layers of the image's own size (True) and others; chosen by
# benchmarks/schedules.py.  The former respond so strongly that 0.4 would make them oscillate.
_DIRECT_SHARE = {True: 0.7, False: 0.4}
_DECAY = 0.9


class Damping:
    r"""Damped gradients with respect to the quantities that a style loss compares.

    With g the gradient at an evaluation and m the mean of those so far, which forgets a tenth at
    each (and is corrected for its beginning, as in arXiv 1412.6980),

    .. math:: \hat g = a g + (1 - a) m

    replaces it (a lag compensator): fast oscillations are scaled by a, slow changes pass, and a
    constant gradient is unchanged.  This departs from the paper in the path to the minimum, not
    in the minimum.

    The quantities are Gram matrices, means and deviations.  Gradients with respect to the sums
    behind them would not do: those of several images do not cancel, and the run diverges.

    An evaluation may be repeated, for example after running out of memory: it counts only once
    `commit` is called.

    Parameters
    ----------
    decay : float
        Decay of the mean per evaluation.
    """

    def __init__(self, decay: float = _DECAY) -> None:
        self.decay = decay
        self.restart()

    def restart(self) -> None:
        """Clear the means: for another objective or another size."""
        self._means: dict[str, Tensor] = {}
        self._next: dict[str, Tensor] = {}
        self._weight = 0.0

    def __call__(self, place: str, quantity: str, gradient: Tensor, *, finest: bool) -> Tensor:
        """Return a damped gradient.

        Parameters
        ----------
        place, quantity : str
            Key of the mean: each quantity at each place has its own.
        gradient : Tensor
            Of any shape, the same each time; it is not modified.
        finest : bool
            Whether the layer has the image's own size: a is 0.7 there, and 0.4 elsewhere.

        Returns
        -------
        Tensor
            Of the gradient's shape, float32.
        """
        # float32 on every device: a saved run may continue on a GPU without float64.
        now = gradient.float()
        key = f"{place}.{quantity}"
        before = self._means.get(key)
        mean = now * (1 - self.decay) if before is None else before.lerp(now, 1 - self.decay)
        self._next[key] = mean
        weight = self._weight + (1 - self.decay) * (1 - self._weight)
        direct = _DIRECT_SHARE[finest]
        return torch.add(direct * now, mean, alpha=(1 - direct) / weight)

    def commit(self) -> None:
        """Count the last evaluation."""
        if self._next:
            self._means, self._next = self._next, {}
            self._weight += (1 - self.decay) * (1 - self._weight)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The means, not copied."""
        return self._means

    @property
    def weight(self) -> float:
        """Weight of the means, from 0 to 1, for the bias correction."""
        return self._weight

    def load_state_dict(self, tensors: Mapping[str, Tensor], weight: float) -> None:
        """Restore means and their weight."""
        self.restart()
        self._means, self._weight = dict(tensors), weight
