"""Adam and L-BFGS on the pixels, with a state that moves to the next scale.

They are our own because their state must be resampled between scales, and because importing
torch.optim imports a compiler that crashes under software OpenGL.
"""

from __future__ import annotations

import math
import traceback
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch.nn import functional

from napari_nst.engine.compute import is_out_of_memory
from napari_nst.engine.costs import LBFGS_HISTORY, SHORTEST_HISTORY
from napari_nst.errors import StyleTransferWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

__all__ = ["LBFGS", "Adam", "Optimizer", "State"]

T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """What an optimizer remembers: tensors by name, and numbers that JSON can say."""

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


class Optimizer(Protocol):
    """What the loop asks of an optimizer."""

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Return the next image to evaluate, a tensor of its own; the gradient may be used up."""
        ...

    def best(self, image: Tensor) -> Tensor:
        """Return the image to deliver, given the one that would be evaluated next."""
        ...

    def resize(self, height: int, width: int, iterations: int) -> None:
        """Move on to images of another size, for so many iterations."""
        ...

    def steered(self) -> None:
        """Go on with another function from the next step on, without a jump."""
        ...

    def spare(self) -> bool:
        """Give up memory that it can do without, with a warning; return whether there was any."""
        ...

    def state(self) -> State:
        """Return all that it remembers; its tensors are not copied."""
        ...

    def restore(self, state: State) -> None:
        """Remember what `state` said."""
        ...


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980), clamped to [0, 1], its iterates averaged.

    The gradient is taken of the loss times the number of pixels: mean losses have gradients
    that fall as 1 / pixels, and so the moments need no rescaling between scales, and epsilon
    means the same at every size.

    Parameters
    ----------
    learning_rate : float
        In units of the image's range.
    betas : tuple of float
        Decay of the first and the second moment; (0.9, 0.99) as in crowsonkb's
        style-transfer-pytorch.
    epsilon : float
        Added to the root of the second moment.
    iterations : int
        Of the first scale: the average runs over about a tenth of them.
    """

    def __init__(
        self,
        learning_rate: float = 0.02,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
        iterations: int = 100,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self._steps = 0
        self._first: Tensor | None = None
        self._second: Tensor | None = None
        self._norm: Tensor | None = None
        self._rescale = False
        self._average = _Average(iterations)

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Return the image after one step; the loss plays no part, the gradient is used up."""
        # In the gradient's own memory: at large sizes every image counts.
        gradient *= image.shape[-2] * image.shape[-1]
        norm = torch.linalg.vector_norm(gradient) / math.sqrt(gradient.numel())
        if self._rescale and self._norm is not None:
            self._rescale_moments(norm / self._norm.clamp_min(1e-30))
        self._norm, self._rescale = norm, False
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        first_decay, second_decay = self.betas
        self._steps += 1
        self._first.lerp_(gradient, 1 - first_decay)
        self._second.lerp_(gradient.square_(), 1 - second_decay)
        rate = self.learning_rate / (1 - first_decay**self._steps)
        root = torch.div(self._second, 1 - second_decay**self._steps, out=gradient)
        root.sqrt_().add_(self.epsilon)
        image = image.addcdiv(self._first, root, value=-rate).clamp_(0, 1)
        self._average.add(image)
        return image

    def best(self, image: Tensor) -> Tensor:
        """Return the average of the iterates, which has less noise than the last of them."""
        return self._average.value(image)

    def steered(self) -> None:
        """Begin a new average, and bring the moments to the new function's scale.

        The second moment remembers a hundred steps.  Left alone, it would all but stop a run
        whose weights were lowered, and let it leap where they were raised.
        """
        self._average.restart()
        self._rescale = True

    def _rescale_moments(self, ratio: Tensor) -> None:
        if self._first is not None and self._second is not None:
            self._first *= ratio
            self._second *= ratio.square()

    def resize(self, height: int, width: int, iterations: int) -> None:
        """Resample the moments (the second never below zero) and begin a new average."""
        if self._first is not None and self._second is not None:
            size = (height, width)
            self._first = functional.interpolate(self._first, size, mode="bicubic")
            self._second = functional.interpolate(self._second, size, mode="bilinear").clamp_(0)
        self._average = _Average(iterations)

    def spare(self) -> bool:
        """Return that it needs all it has."""
        return False

    def state(self) -> State:
        """Return moments, average and counters."""
        tensors = {
            "first": self._first,
            "second": self._second,
            "norm": self._norm,
            "average": self._average.sum,
        }
        numbers = {
            "steps": self._steps,
            "rescale": self._rescale,
            "decay": self._average.decay,
            "weight": self._average.weight,
        }
        return State({k: v for k, v in tensors.items() if v is not None}, numbers)

    def restore(self, state: State) -> None:
        """Go on from moments, average and counters."""
        find = state.tensors.get
        self._first, self._second, self._norm = find("first"), find("second"), find("norm")
        self._steps, self._rescale = state.numbers["steps"], state.numbers["rescale"]
        self._average.sum = find("average")
        self._average.decay = state.numbers["decay"]
        self._average.weight = state.numbers["weight"]


class _Average:
    """A running average of images over about a tenth of a scale's iterations."""

    def __init__(self, iterations: int) -> None:
        self.decay = 1 - 1 / max(iterations / 10, 1)
        self.restart()

    def restart(self) -> None:
        self.sum: Tensor | None = None
        self.weight = 0.0

    def add(self, image: Tensor) -> None:
        if self.sum is None:
            self.sum = torch.zeros_like(image)
        self.sum.lerp_(image, 1 - self.decay)
        self.weight += (1 - self.weight) * (1 - self.decay)

    def value(self, default: Tensor) -> Tensor:
        # The weight corrects for the zeros the sum began with.
        return default if self.sum is None else self.sum / self.weight


@dataclass
class _Trial:
    """A step from an accepted image that awaits its evaluation."""

    image: Tensor
    loss: float
    gradient: Tensor
    direction: Tensor
    slope: float
    length: float
    shortened: int = 0


class LBFGS:
    """Limited-memory BFGS (Nocedal 1980), one evaluation a step, never clamped.

    A step is tried at its full length.  Where it does not lower the loss enough (Armijo's
    condition) the optimizer rolls back to the last accepted image and tries a shorter one, so
    that a diverging step costs an evaluation and no picture.  Where memory runs out, it forgets
    the older half of its history and goes on.

    Parameters
    ----------
    learning_rate : float
        The length a step is tried at first; 1 is the method's own.
    history : int
        How many pairs of steps and gradient changes are remembered.

    Attributes
    ----------
    history : int
        As given, or less where memory ran out.
    """

    _SUFFICIENT = 1e-4  # Armijo's constant (Nocedal and Wright, equation 3.4)
    _FIRST_CHANGE = 0.01  # mean change of a pixel in the first step, when no curvature is known
    _MOST_SHORTENINGS = 8

    def __init__(self, learning_rate: float = 1.0, history: int = LBFGS_HISTORY) -> None:
        self.learning_rate = learning_rate
        self.history = history
        self._pairs: list[tuple[Tensor, Tensor, float]] = []
        self._trial: _Trial | None = None

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Judge the image that was evaluated, and return the next to evaluate."""
        trial = self._trial
        if trial is not None:
            enough = trial.loss + self._SUFFICIENT * trial.length * trial.slope
            if not (math.isfinite(loss) and loss <= enough):
                # Against the gradient there is a length that helps, however short.
                if trial.shortened < self._MOST_SHORTENINGS or not self._pairs:
                    trial.length /= 2
                    trial.shortened += 1
                    return self._in_memory(partial(_moved, trial))
                # Not even a 256th of the step helps: the remembered curvature is wrong.
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
            length *= self._FIRST_CHANGE / max(float(gradient.abs().mean()), 1e-30)
        # The one before is let go of first: at large sizes every image counts.
        self._trial = trial = _Trial(image, loss, gradient, direction, slope, length)
        return self._in_memory(partial(_moved, trial))

    def best(self, image: Tensor) -> Tensor:
        """Return the last image that was accepted."""
        return image if self._trial is None else self._trial.image

    def resize(self, height: int, width: int, iterations: int) -> None:
        """Begin anew: curvature measured at one size does not hold at another."""
        self.steered()

    def steered(self) -> None:
        """Forget the history: it belongs to another function."""
        self._pairs.clear()
        self._trial = None

    def spare(self) -> bool:
        """Forget the older half of the history, as far as there is more than the least."""
        before = len(self._pairs)
        if before <= SHORTEST_HISTORY:
            return False
        self.history = max(before // 2, SHORTEST_HISTORY)
        del self._pairs[: -self.history]
        warnings.warn(
            f"Memory ran out: L-BFGS remembers {self.history} steps from now on, and had {before}.",
            StyleTransferWarning,
            stacklevel=2,
        )
        return True

    def state(self) -> State:
        """Return the history, and the step on trial."""
        tensors: dict[str, Tensor] = {}
        for index, (step, change, _) in enumerate(self._pairs):
            tensors |= {f"step.{index}": step, f"change.{index}": change}
        numbers: dict[str, Any] = {"scales": [scale for *_, scale in self._pairs], "trial": None}
        if (trial := self._trial) is not None:
            names = ("image", "gradient", "direction")
            tensors |= {f"trial.{name}": getattr(trial, name) for name in names}
            parts = ("loss", "slope", "length", "shortened")
            numbers["trial"] = {name: getattr(trial, name) for name in parts}
        return State(tensors, numbers)

    def restore(self, state: State) -> None:
        """Go on from a history, and a step on trial."""
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
        """Do something that changes nothing, again with a shorter history if memory runs out."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(self._pairs) <= SHORTEST_HISTORY:
                    raise
                # The frames of the failed attempt hold its tensors.
                traceback.clear_frames(error.__traceback__)
            self.spare()

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = _dot(step, change)
        if curvature > 1e-10 * _dot(
            change, change
        ):  # else the inverse Hessian would not be positive
            self._pairs.append((step, change, 1 / curvature))
            del self._pairs[: -self.history]

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return minus the inverse Hessian times the gradient, by the two-loop recursion."""
        direction = -gradient
        factors = []
        for step, change, scale in reversed(self._pairs):
            factors.append(scale * _dot(step, direction))
            direction = direction.add(change, alpha=-factors[-1])
        if self._pairs:
            _, change, scale = self._pairs[-1]
            direction = direction / (scale * _dot(change, change))
        for (step, change, scale), factor in zip(self._pairs, reversed(factors), strict=True):
            direction.add_(step, alpha=factor - scale * _dot(change, direction))
        return direction


def _since(trial: _Trial, image: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return image - trial.image, gradient - trial.gradient


def _moved(trial: _Trial) -> Tensor:
    return trial.image + trial.length * trial.direction


def _dot(left: Tensor, right: Tensor) -> float:
    return float(torch.dot(left.flatten(), right.flatten()))
