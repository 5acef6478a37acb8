"""Compare schedules by their loss at the final size against time; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from napari_nst.engine.images.pictures import Picture, resize
from napari_nst.engine.losses.objective import Objective, extractor_for
from napari_nst.engine.optim.adam import Adam
from napari_nst.engine.optim.sizes import scales_for, style_size
from napari_nst.engine.resources.device import Device
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.samples import SAMPLES
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Point", "follow"]


# Learning rate and betas of Adam in crowsonkb's style-transfer-pytorch.
_OTHER_RATE, _OTHER_BETAS = 0.02, (0.9, 0.99)


class Point(NamedTuple):
    """Losses of a run at the final size after some time."""

    seconds: float
    iteration: int
    total: float
    content: float
    style: float


class Judge:
    """Evaluate the loss of images of any size at the final size."""

    def __init__(self, pair: str, settings: StyleTransferSettings) -> None:
        sample = SAMPLES[pair]
        self.content, self.style = sample.content()[:, 33:566], sample.style()
        scale = scales_for(settings, *self.content.shape[:2], "cpu")[-1]
        self._size = (scale.height, scale.width)
        content, style = (
            Picture.from_array(image, "").pixels for image in (self.content, self.style)
        )
        shape = (style.shape[-2], style.shape[-1])
        self._pictures = (
            resize(content, *self._size),
            [resize(style, *style_size(settings, shape, scale))],
        )
        self._settings = settings
        self._objective = self._objective_in(torch.float32)

    def _objective_in(self, dtype: torch.dtype) -> Objective:
        network = extractor_for(self._settings, "cpu", dtype)
        return Objective(*self._pictures, self._settings, network)

    def __call__(self, run: StyleTransfer) -> tuple[float, float, float]:
        picture = torch.from_numpy(run.result().image).permute(2, 0, 1)[None].contiguous()
        return self._of(resize(picture, *self._size))

    def plain(self, iterations: int, every: int) -> list[Point]:
        """Return the points of a schedule of other programs: one scale, constant steps."""
        image = self._pictures[0]
        dtype = Device.from_settings(self._settings).dtype  # that of the runs
        objective = self._objective_in(dtype)
        optimizer = Adam(_OTHER_RATE, _OTHER_BETAS, iterations=iterations, coarse_share=0)
        points: list[Point] = []
        spent = 0.0
        for iteration in range(1, iterations + 1):
            began = time.perf_counter()
            _, gradient = objective.loss_and_gradient(image)
            image = optimizer.step(image, 0.0, gradient)
            spent += time.perf_counter() - began
            if iteration % every == 0 or iteration == iterations:
                points.append(Point(spent, iteration, *self._of(optimizer.output_image(image))))
        return points

    def _of(self, picture: Tensor) -> tuple[float, float, float]:
        losses, _ = self._objective.loss_and_gradient(picture)
        return losses.total, losses.content, losses.style


def follow(judge: Judge, settings: StyleTransferSettings, every: int) -> list[Point]:
    """Return the points of a run; evaluating them is not timed."""
    points: list[Point] = []
    run = StyleTransfer(judge.content, judge.style, settings.replace(output_size="working"))
    spent = 0.0
    began = time.perf_counter()
    for snapshot in run:
        if snapshot.iteration % every == 0 or snapshot.iteration == snapshot.iterations:
            spent += time.perf_counter() - began
            points.append(Point(spent, snapshot.iteration, *judge(run)))
            began = time.perf_counter()
    return points


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", default="coffee_impasto", choices=list(SAMPLES))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=160, help="of a single scale")
    parser.add_argument("--every", type=int, default=8, help="iterations between two points")
    parser.add_argument("--curves", type=Path, help="write the points there, as JSON")
    options = parser.parse_args(arguments)
    base = StyleTransferSettings(size=options.size, kept_structure=0)  # a constant loss
    alone = base.replace(scales=1, iterations=options.iterations)
    judge = Judge(options.pair, base)
    schedules = {
        "one scale": alone,
        "one scale, half the iterations": alone.replace(iterations=options.iterations // 2),
        "auto (the default)": base,
        "three scales": base.replace(scales=3),
        "one scale, L-BFGS": alone.replace(optimizer="lbfgs"),
        "auto, L-BFGS": base.replace(optimizer="lbfgs"),
    }
    goal_name = "one scale as other programs have it"
    curves = {goal_name: judge.plain(options.iterations, options.every)}
    curves |= {name: follow(judge, chosen, options.every) for name, chosen in schedules.items()}
    goal = curves[goal_name][-1]
    table = Table("schedule", "seconds", "loss", "content", "style", "seconds to the goal", "ratio")
    for name, points in curves.items():
        there = next((point.seconds for point in points if point.total <= goal.total), None)
        last = points[-1]
        table.add_row(
            name,
            f"{last.seconds:.1f}",
            f"{last.total:.4f}",
            f"{last.content:.4f}",
            f"{last.style:.4f}",
            "never" if there is None else f"{there:.1f}",
            "" if there is None else f"{there / goal.seconds:.2f}",
        )
    console = Console()
    console.print(
        f"{options.pair} at {options.size} pixels.  The goal is the loss that one scale with "
        f"constant steps reaches in {options.iterations} iterations: {goal.total:.4f} in "
        f"{goal.seconds:.1f} s."
    )
    console.print(table)
    if options.curves is not None:
        options.curves.write_text(
            json.dumps({name: [point._asdict() for point in c] for name, c in curves.items()})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
