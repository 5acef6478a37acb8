"""L-BFGS on the pixels: one evaluation per step, with a line search that rolls back."""

from __future__ import annotations

import math
import traceback
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from napari_nst.engine.optim.adam import OptimizerState
from napari_nst.engine.optim.multilevel import precondition_
from napari_nst.engine.optim.schedule import LBFGS_HISTORY, MIN_LBFGS_HISTORY
from napari_nst.engine.out_of_memory import is_out_of_memory
from napari_nst.errors import StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_nst.engine.optim.schedule import ScaleRole

__all__ = ["LBFGS"]

T = TypeVar("T")

_COARSE_SHARE = 1.0  # with more, some steps are too long and waste an evaluation


@dataclass
class _Trial:
    """A step from an accepted image, not evaluated yet."""

    image: Tensor
    loss: float
    gradient: Tensor
    direction: Tensor
    slope: float
    length: float
    shortened: int = 0


class LBFGS:
    """Limited-memory BFGS (Nocedal 1980), one evaluation per step, not clamped.

    Each step is tried at its full length.  If it does not lower the loss enough (Armijo's
    condition), the optimizer returns to the last accepted image and tries half the length: a
    diverging step costs an evaluation, but not the picture.  If memory runs out, it drops the
    older half of its history and continues.

    Parameters
    ----------
    learning_rate : float
        Initial length of each step; the method's own is 1.
    history : int
        Maximum number of pairs of a step and a gradient change.
    coarse_share : float
        Share of patches (see `multilevel.precondition_`) in the initial inverse Hessian; 0: the
        identity, as in the paper.

    Attributes
    ----------
    history : int
        As given, or less after running out of memory.
    damping : None
        Curvature estimates need exact gradients.
    """

    damping = None

    _SUFFICIENT = 1e-4  # Armijo's constant (Nocedal and Wright, equation 3.4)
    _FIRST_CHANGE = 0.01  # mean change of a pixel in the first step, when no curvature is known
    _MOST_SHORTENINGS = 8

    def __init__(
        self,
        learning_rate: float = 1.0,
        history: int = LBFGS_HISTORY,
        *,
        coarse_share: float = _COARSE_SHARE,
    ) -> None:
        self.learning_rate = learning_rate
        self.history = history
        self.coarse_share = coarse_share
        self._pairs: list[tuple[Tensor, Tensor, float]] = []
        self._trial: _Trial | None = None

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Accept or reject the evaluated image, and return the next one to evaluate."""
        trial = self._trial
        if trial is not None:
            enough = trial.loss + self._SUFFICIENT * trial.length * trial.slope
            if not (math.isfinite(loss) and loss <= enough):
                # Along the negative gradient some length lowers the loss, however short.
                if trial.shortened < self._MOST_SHORTENINGS or not self._pairs:
                    trial.length /= 2
                    trial.shortened += 1
                    return self._in_memory(partial(_moved, trial))
                # Not even a 256th of the step lowers the loss: the curvature is wrong.
                self._pairs.clear()
                image, loss, gradient = trial.image, trial.loss, trial.gradient
            else:
                self._remember(*self._in_memory(partial(_since, trial, image, gradient)))
        direction = self._in_memory(partial(self._direction, gradient))
        slope = _dot(gradient, direction)
        if not slope < 0:
            self._pairs.clear()
            direction = -gradient
            slope = -_dot(gradient, gradient)
        length = self.learning_rate
        if not self._pairs:
            length *= self._FIRST_CHANGE / max(float(direction.abs().mean()), 1e-30)
        # Assigned at once, which frees the previous trial: a large image takes much memory.
        self._trial = trial = _Trial(image, loss, gradient, direction, slope, length)
        return self._in_memory(partial(_moved, trial))

    def output_image(self, image: Tensor) -> Tensor:
        """Return the last accepted image."""
        return image if self._trial is None else self._trial.image

    def resize(self, height: int, width: int, iterations: int, role: ScaleRole) -> None:
        """Clear the history: curvature measured at one size does not hold at another.

        The role is ignored.  Strokes move at scales for detail, too: what a filter leaves of them,
        however little, the estimated curvature amplifies.
        """
        self.on_objective_changed()

    def on_objective_changed(self) -> None:
        """Clear the history: it belongs to another objective."""
        self._pairs.clear()
        self._trial = None

    def release_memory(self) -> bool:
        """Drop the older half of the history; return False at the smallest history size."""
        before = len(self._pairs)
        if before <= MIN_LBFGS_HISTORY:
            return False
        self.remember(max(before // 2, MIN_LBFGS_HISTORY))
        warnings.warn(
            f"Memory ran out: L-BFGS remembers {self.history} steps from now on, and had {before}.",
            StyleTransferWarning,
            stacklevel=2,
        )
        return True

    def remember(self, pairs: int) -> None:
        """Limit the history to a number of pairs from now on."""
        self.history = pairs
        del self._pairs[:-pairs]

    def state_dict(self) -> OptimizerState:
        """Return the history and the current trial."""
        tensors: dict[str, Tensor] = {}
        for index, (step, change, _) in enumerate(self._pairs):
            tensors |= {f"step.{index}": step, f"change.{index}": change}
        numbers: dict[str, Any] = {"scales": [scale for *_, scale in self._pairs], "trial": None}
        if (trial := self._trial) is not None:
            names = ("image", "gradient", "direction")
            tensors |= {f"trial.{name}": getattr(trial, name) for name in names}
            parts = ("loss", "slope", "length", "shortened")
            numbers["trial"] = {name: getattr(trial, name) for name in parts}
        return OptimizerState(tensors, numbers)

    def load_state_dict(self, state: OptimizerState) -> None:
        """Restore the history and the current trial."""
        tensors = state.tensors
        self._pairs = [
            (tensors[f"step.{index}"], tensors[f"change.{index}"], scale)
            for index, scale in enumerate(state.numbers["scales"])
        ]
        numbers = state.numbers["trial"]
        self._trial = numbers and _Trial(
            image=tensors["trial.image"],
            gradient=tensors["trial.gradient"],
            direction=tensors["trial.direction"],
            **numbers,
        )

    def _in_memory(self, work: Callable[[], T]) -> T:
        """Call a function without side effects, again with less history if memory runs out."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(self._pairs) <= MIN_LBFGS_HISTORY:
                    raise
                # The frames of the failed attempt hold its tensors.
                traceback.clear_frames(error.__traceback__)
            self.release_memory()

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = _dot(step, change)
        # Otherwise the inverse Hessian would not be positive definite.
        if curvature > 1e-10 * _dot(change, change):
            self._pairs.append((step, change, 1 / curvature))
            del self._pairs[: -self.history]

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return minus the inverse Hessian times the gradient, by the two-loop recursion."""
        direction = -gradient
        factors = []
        for step, change, scale in reversed(self._pairs):
            factors.append(scale * _dot(step, direction))
            direction = direction.add(change, alpha=-factors[-1])
        direction = precondition_(direction, self.coarse_share)
        if self._pairs:
            _, change, scale = self._pairs[-1]
            direction /= scale * _dot(change, precondition_(change.clone(), self.coarse_share))
        for (step, change, scale), factor in zip(self._pairs, reversed(factors), strict=True):
            direction.add_(step, alpha=factor - scale * _dot(change, direction))
        return direction


def _since(trial: _Trial, image: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return image - trial.image, gradient - trial.gradient


def _moved(trial: _Trial) -> Tensor:
    return trial.image + trial.length * trial.direction


def _dot(left: Tensor, right: Tensor) -> float:
    return float(torch.dot(left.flatten(), right.flatten()))
