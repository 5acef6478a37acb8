"""Damping: what styles pull at, in part averaged over the last evaluations.

A style loss depends on few numbers, the statistics, and every pixel answers to them: what one step
mends, all pixels overdo together, and the next step takes back. That shaking costs more than it
seems: it blurs the content and roughens the picture, and both come back slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["Damping"]

# Chosen by benchmarks/schedules.py. What layers of the image's own size see answers to a step so
# strongly that it would begin to swing with what the others bear.
_DIRECT_SHARE = {True: 0.7, False: 0.4}
_DECAY = 0.9


class Damping:
    r"""The gradient with respect to what a style loss compares, damped.

    With g the gradient at an evaluation and m the mean of those so far, which forgets a tenth at
    each (and is corrected for its beginning, as in arXiv 1412.6980),

    .. math:: \hat g = a g + (1 - a) m

    goes in its place: a fast swing counts a, a slow drift wholly, and where the gradient no
    longer changes nothing does.  Engineers know it as a lag compensator.  It departs from the
    paper in the way to the minimum, not in the minimum.

    What is compared are Gram matrices, means and deviations, and not the sums that they are made
    of: with respect to those, gradients of several images no longer cancel as they should, and a
    run goes astray.

    An evaluation may be repeated (memory runs out, say): what it saw counts when `keep` is called.

    Parameters
    ----------
    decay : float
        What the mean keeps at each evaluation.
    """

    def __init__(self, decay: float = _DECAY) -> None:
        self.decay = decay
        self.restart()

    def restart(self) -> None:
        """Forget everything: another function, or another size, comes."""
        self._means: dict[str, Tensor] = {}
        self._next: dict[str, Tensor] = {}
        self._weight = 0.0

    def __call__(self, place: str, quantity: str, gradient: Tensor, *, finest: bool) -> Tensor:
        """Return a gradient damped.

        Parameters
        ----------
        place, quantity : str
            Which it is: a mean is kept for each quantity at each place.
        gradient : Tensor
            Of any shape, the same each time; it is not changed.
        finest : bool
            Whether it is of a layer of the image's own size: a is 0.7 there, and 0.4 elsewhere.

        Returns
        -------
        Tensor
            Of the gradient's shape, float32.
        """
        # In float32: Apple's GPUs have nothing wider, and a saved run may go on there.
        now = gradient.float()
        key = f"{place}.{quantity}"
        before = self._means.get(key)
        mean = now * (1 - self.decay) if before is None else before.lerp(now, 1 - self.decay)
        self._next[key] = mean
        weight = self._weight + (1 - self.decay) * (1 - self._weight)
        direct = _DIRECT_SHARE[finest]
        return torch.add(direct * now, mean, alpha=(1 - direct) / weight)

    def commit(self) -> None:
        """Say that the evaluation counts."""
        if self._next:
            self._means, self._next = self._next, {}
            self._weight += (1 - self.decay) * (1 - self._weight)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The means; they are not copied."""
        return self._means

    @property
    def weight(self) -> float:
        """What the means have of their full weight, from 0 to 1."""
        return self._weight

    def load_state_dict(self, tensors: Mapping[str, Tensor], weight: float) -> None:
        """Go on from means and their weight."""
        self.restart()
        self._means, self._weight = dict(tensors), weight
