"""The interface of optimizers of the pixels, and Adam.

They are not torch.optim's: their state must be resampled between scales, and importing torch.optim
imports triton, which crashes beside a canvas on software OpenGL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn import functional

from napari_nst.engine.optim.damping import Damping
from napari_nst.engine.optim.multilevel import keep_detail_, precondition_
from napari_nst.engine.optim.schedule import LEARNING_RATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_nst.engine.optim.schedule import ScaleRole

__all__ = ["COARSE_SHARE", "Adam", "Optimizer", "OptimizerState"]

COARSE_SHARE = 0.15
"""Default share of patches in Adam's steps; chosen by benchmarks/schedules.py."""

_DAMPING = "damping."  # prefix of the names of its tensors


@dataclass(frozen=True)
class OptimizerState:
    """State of an optimizer: tensors by name, and numbers that JSON can hold."""

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


class Optimizer(Protocol):
    """Interface of an optimizer to the loop."""

    @property
    def damping(self) -> Damping | None:
        """Damping of the style gradients it is given, or None if it needs exact gradients."""
        ...

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Return the next image to evaluate, a new tensor; the gradient may be overwritten."""
        ...

    def output_image(self, image: Tensor) -> Tensor:
        """Return the best image so far, given the next one to evaluate."""
        ...

    def resize(self, height: int, width: int, iterations: int, role: ScaleRole) -> None:
        """Resample the state for a scale of another size, with iterations and a role."""
        ...

    def on_objective_changed(self) -> None:
        """Prepare for another objective from the next step on, without a jump.

        At a scale for detail, strokes may move again.
        """
        ...

    def release_memory(self) -> bool:
        """Free memory it can do without, with a warning; return whether there was any."""
        ...

    def state_dict(self) -> OptimizerState:
        """Return the state; the tensors are not copied."""
        ...

    def load_state_dict(self, state: OptimizerState) -> None:
        """Restore what `state_dict` returned."""
        ...


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980), clamped to [0, 1], its iterates averaged.

    The gradient is taken of the loss times the number of pixels: mean losses have gradients
    that fall as 1 / pixels, and so the moments need no rescaling between scales, and epsilon
    means the same at every size.

    At a scale for detail the steps are three quarters as long.  There and at a scale for strokes
    they become shorter, by half a cosine down to three tenths (after Loshchilov and Hutter, arXiv
    1608.03983, equation 5): long steps reach a good picture sooner, and only short ones settle in
    it.  With them the first moment's memory becomes longer, and its mean steadier.

    Parameters
    ----------
    learning_rate : float
        In units of the image's range; the initial one, where steps become shorter.
    betas : tuple of float
        Decay of the first and the second moment; the first rises to 0.9 as the steps become
        shorter.  crowsonkb's style-transfer-pytorch has 0.99 for the second, a memory of a hundred
        steps: too long for a scale of fifty.  Chosen by benchmarks/schedules.py.
    epsilon : float
        Added to the root of the second moment.
    iterations : int
        Iterations at the first scale; the average covers about a tenth of them.
    role : {"composition", "strokes", "detail"}
        What the first scale is for.
    coarse_share : float
        Share of patches in a step (see `multilevel.precondition_`); 0: pixels alone.

    Attributes
    ----------
    damping : Damping
        Damping of the style gradients it is given.
    """

    _DETAIL = 0.75  # of the learning rate, at a scale for detail: longer steps leave grain
    _SHORTEST = 0.3  # of the learning rate; chosen by benchmarks/schedules.py
    _STEADIEST = 0.9  # the first moment's decay then

    def __init__(
        self,
        learning_rate: float = LEARNING_RATE,
        betas: tuple[float, float] = (0.8, 0.9),
        epsilon: float = 1e-8,
        iterations: int = 100,
        *,
        role: ScaleRole = "composition",
        coarse_share: float = COARSE_SHARE,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self.coarse_share = coarse_share
        self.damping = Damping()
        self._steps = 0
        self._beta1_power = 1.0  # the product of its decays so far
        self._first: Tensor | None = None
        self._second: Tensor | None = None
        self._norm: Tensor | None = None
        self._rescale = False
        self._begin(iterations, role)

    def _begin(self, iterations: int, role: ScaleRole) -> None:
        """Start a scale: reset the average and the schedule of the learning rate."""
        self._only_detail = role == "detail"
        self._average = _EMA(iterations)
        self._left, self._shortens, self._shortened = iterations, role != "composition", 0

    def step(self, image: Tensor, loss: float, gradient: Tensor) -> Tensor:
        """Return the image after one step; the loss is ignored, the gradient is overwritten."""
        self.damping.commit()
        # In the gradient's memory: a large image takes hundreds of megabytes.
        gradient *= image.shape[-2] * image.shape[-1]
        if self._only_detail:
            keep_detail_(gradient)
        norm = torch.linalg.vector_norm(gradient) / math.sqrt(gradient.numel())
        if self._rescale and self._norm is not None:
            self._rescale_moments(norm / self._norm.clamp_min(1e-30))
        self._norm, self._rescale = norm, False
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        rate, first_decay, second_decay = self._constants()
        self._steps += 1
        self._beta1_power *= first_decay
        self._first.lerp_(gradient, 1 - first_decay)
        self._second.lerp_(gradient.square_(), 1 - second_decay)
        root = torch.div(self._second, 1 - second_decay**self._steps, out=gradient)
        root.sqrt_().add_(self.epsilon)
        direction = torch.div(self._first, root, out=root)
        if self._only_detail:  # the root differs from pixel to pixel
            keep_detail_(direction)
        else:
            precondition_(direction, self.coarse_share)
        image = image.add(direction, alpha=-rate / (1 - self._beta1_power)).clamp_(0, 1)
        self._average.add(image)
        return image

    def _constants(self) -> tuple[float, float, float]:
        """Return the learning rate and both decays of this step, and count the step."""
        part = min(self._shortened / max(self._left, 1), 1) if self._shortens else 0
        self._shortened += 1
        half = (1 + math.cos(math.pi * part)) / 2
        rate = self.learning_rate * (self._SHORTEST + (1 - self._SHORTEST) * half)
        if self._only_detail:
            rate *= self._DETAIL
        first, second = self.betas
        return rate, first + (max(self._STEADIEST, first) - first) * part, second

    def output_image(self, image: Tensor) -> Tensor:
        """Return the EMA of the iterates, which has less noise than the last one."""
        return self._average.value(image)

    def on_objective_changed(self) -> None:
        """Restart the average, and rescale the moments to the new objective.

        The learning rate starts high again and decays over the remaining iterations, so that a
        control has a visible effect near the end of a run, too.

        The second moment remembers ten steps.  Without rescaling, the run would almost stop after
        lowering weights, and jump after raising them.
        """
        self._average.restart()
        self.damping.restart()
        self._rescale, self._only_detail = True, False
        self._left, self._shortened = max(self._left - self._shortened, 1), 0

    def _rescale_moments(self, ratio: Tensor) -> None:
        if self._first is not None and self._second is not None:
            self._first *= ratio
            self._second *= ratio.square()

    def resize(self, height: int, width: int, iterations: int, role: ScaleRole) -> None:
        """Resample the moments and restart the average.

        A mean of squares is at least the squared mean (both corrected for bias); resampling keeps
        that.  Otherwise, beside pixels that never had a gradient, bicubic resampling leaves a first
        moment without a second one: an unbounded step, which moves its whole patch.
        """
        if self._first is not None and self._second is not None:
            size = (height, width)
            self._first = functional.interpolate(self._first, size, mode="bicubic")
            second = functional.interpolate(self._second, size, mode="bilinear")
            seen = (1 - self.betas[1] ** self._steps) / (1 - self._beta1_power) ** 2
            least = self._first.square() * seen
            self._second = torch.maximum(second, least)
        self.damping.restart()
        self._begin(iterations, role)

    def release_memory(self) -> bool:
        """Return False: it needs all of its memory."""
        return False

    def state_dict(self) -> OptimizerState:
        """Return moments, average, damping and counters."""
        tensors = {
            "first": self._first,
            "second": self._second,
            "norm": self._norm,
            "average": self._average.sum,
        }
        tensors |= {f"{_DAMPING}{key}": mean for key, mean in self.damping.tensors.items()}
        numbers = {
            "damping": self.damping.weight,
            "steps": self._steps,
            "beta1_power": self._beta1_power,
            "rescale": self._rescale,
            "only_detail": self._only_detail,
            "decay": self._average.decay,
            "weight": self._average.weight,
            "left": self._left,
            "shortens": self._shortens,
            "shortened": self._shortened,
        }
        return OptimizerState({k: v for k, v in tensors.items() if v is not None}, numbers)

    def load_state_dict(self, state: OptimizerState) -> None:
        """Restore moments, average, damping and counters."""
        means = {
            name.removeprefix(_DAMPING): mean
            for name, mean in state.tensors.items()
            if name.startswith(_DAMPING)
        }
        self.damping.load_state_dict(means, state.numbers["damping"])
        find = state.tensors.get
        self._first, self._second, self._norm = find("first"), find("second"), find("norm")
        self._steps, self._rescale = state.numbers["steps"], state.numbers["rescale"]
        self._only_detail = state.numbers["only_detail"]
        self._beta1_power = state.numbers["beta1_power"]
        self._average.sum = find("average")
        self._average.decay = state.numbers["decay"]
        self._average.weight = state.numbers["weight"]
        self._left, self._shortened = state.numbers["left"], state.numbers["shortened"]
        self._shortens = state.numbers["shortens"]


class _EMA:
    """EMA of images over about a tenth of a scale's iterations."""

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
        # The weight corrects for starting from zeros.
        return default if self.sum is None else self.sum / self.weight
