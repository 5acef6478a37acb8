"""Time the Wasserstein term against Newton-Schulz iterations; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from napari_nst.engine.images import pictures
from napari_nst.engine.losses.terms import wasserstein_term
from napari_nst.engine.network import weights
from napari_nst.engine.network.statistics import WASSERSTEIN_RIDGE, Statistics
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["measure", "newton_schulz_root", "newton_schulz_term", "root_gradient"]

_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_ITERATIONS = 12
_CONVERGED = 80  # iterations until convergence


def newton_schulz_root(matrix: Tensor, iterations: int = _ITERATIONS) -> Tensor:
    """Return the square root of a positive definite matrix, using only products.

    The coupled Newton-Schulz iteration (Higham, Functions of Matrices, 2008, equation 6.35):
    Y <- Y (3 I - Z Y) / 2 and Z <- (3 I - Z Y) Z / 2 from Y = A / ||A|| and Z = I, where Y tends
    to the root of A / ||A||.
    """
    norm = torch.linalg.matrix_norm(matrix)
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    root, inverse = matrix / norm, identity
    for _ in range(iterations):
        step = (3 * identity - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return torch.mul(root, norm.sqrt())


def root_gradient(root: Tensor, gradient: Tensor, iterations: int = _ITERATIONS) -> Tensor:
    """Return dL/dA from dL/d(A^1/2), the solution X of the Lyapunov equation S X + X S = dL/dS.

    The matrix sign of the block matrix [[S, G], [0, -S]] has 2 X in its upper right corner.  It is
    computed by the Newton-Schulz iteration for the sign, U <- U (3 I - U^2) / 2 (Higham, equation
    5.39; for the gradient of a root: Lin and Maji, arXiv 1707.06772, section 3.2), for the two
    upper blocks and a symmetric S.
    """
    norm = torch.linalg.matrix_norm(root)
    identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
    block, corner = root / norm, gradient / norm
    for _ in range(iterations):
        square = block @ block
        commutator = block @ corner - corner @ block
        corner = (corner @ (3 * identity - square) - block @ commutator) / 2
        block = block @ (3 * identity - square) / 2
    return torch.div(corner, 2)


class _Root(torch.autograd.Function):
    """`newton_schulz_root` with the gradient of `root_gradient`, for autograd."""

    @staticmethod
    def forward(context: Any, matrix: Tensor, iterations: int) -> Tensor:
        root = newton_schulz_root(matrix, iterations)
        context.save_for_backward(root)
        context.iterations = iterations
        return root

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (root,) = context.saved_tensors
        return root_gradient(root, gradient, context.iterations), None


class Gradients(NamedTuple):
    """The distance and its gradients with respect to the mean and the mean of F F^T."""

    value: Tensor
    mean: Tensor
    moment: Tensor

    def errors(self, other: Gradients, statistics: Statistics) -> tuple[float, float]:
        """Return the relative errors of another value and gradient with respect to features."""
        mean = statistics.mean[None]
        one = mean.new_ones(1, 1)
        sums = torch.cat(
            [torch.cat([one, mean], 1), torch.cat([mean.mT, statistics.second_moment], 1)]
        )
        values, vectors = torch.linalg.eigh(sums)
        root = vectors * values.clamp_min(0).sqrt()

        def size(first: Tensor, second: Tensor) -> float:
            """Return || first 1^T + 2 second F || without computing with F, which is long."""
            return float((torch.cat([first[:, None], 2 * second], 1) @ root).norm())

        error = size(other.mean - self.mean, other.moment - self.moment)
        return abs(float(other.value / self.value) - 1), error / size(self.mean, self.moment)


def newton_schulz_term(
    mean: Tensor,
    moment: Tensor,
    target_mean: Tensor,
    target_covariance: Tensor,
    root: Tensor,
    *,
    iterations: int = _ITERATIONS,
) -> Gradients:
    """Return the same distance as `losses.wasserstein_term`, differentiated by autograd.

    Parameters
    ----------
    mean, moment : Tensor
        Generated features: mu and the mean of F F^T.
    target_mean, target_covariance, root : Tensor
        Target: mean, regularised covariance and its root.
    iterations : int
        Iterations of the root, and of its gradient.
    """
    mean, moment = (value.detach().requires_grad_() for value in (mean, moment))
    with torch.enable_grad():
        identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        covariance = moment - torch.outer(mean, mean) + WASSERSTEIN_RIDGE * identity
        cross = _Root.apply(root @ covariance @ root, iterations)
        spread = torch.trace(covariance + target_covariance - 2 * cross)
        value = ((mean - target_mean).square().sum() + spread) / len(mean)
        return Gradients(value.detach(), *torch.autograd.grad(value, (mean, moment)))


class Row(NamedTuple):
    """One layer: median seconds of each method, and errors of the others against ours."""

    layer: str
    channels: int
    positions: int
    seconds: tuple[float, ...]
    errors: tuple[tuple[float, float], ...]


def measure(layer: str, generated: Statistics, target: Statistics, repeats: int) -> Row:
    """Time the methods in turns, and compare their values and gradients."""

    def newton_schulz(dtype: torch.dtype, iterations: int = _ITERATIONS) -> Callable[[], Gradients]:
        arguments = [
            value.to(dtype)
            for value in (
                generated.mean,
                generated.second_moment,
                target.mean,
                target.regular_covariance,
                target.covariance_root,
            )
        ]
        mean, moment, target_mean, covariance, root = arguments
        return lambda: newton_schulz_term(
            mean, moment, target_mean, covariance, root, iterations=iterations
        )

    def ours() -> Gradients:
        sums = generated.feature_sum, generated.outer_sum
        term = wasserstein_term(Statistics(generated.weight, *sums), target)  # nothing cached
        assert term.mean_gradient is not None
        return Gradients(term.value, term.mean_gradient, term.moment_gradient)

    methods = (ours, newton_schulz(torch.float32), newton_schulz(torch.float64))
    expected, *others = (method() for method in methods)  # also warms up
    others.append(newton_schulz(torch.float64, _CONVERGED)())
    seconds: tuple[list[float], ...] = tuple([] for _ in methods)
    for _ in range(repeats):
        for method, times in zip(methods, seconds, strict=True):
            began = time.perf_counter()
            method()
            times.append(time.perf_counter() - began)
    return Row(
        layer,
        len(generated.mean),
        int(generated.weight),
        tuple(median(times) for times in seconds),
        tuple(expected.errors(found, generated) for found in others),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables for the default style layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="height and width of the pictures")
    parser.add_argument("--repeats", type=int, default=15, help="evaluations for each median")
    options = parser.parse_args(arguments)

    extract = FeatureExtractor("vgg16", weights.load("vgg16").tensors, _LAYERS)
    found = []
    with torch.no_grad():
        for data, _, _ in SAMPLES["coffee_impasto"].layers():
            image = torch.from_numpy(data).permute(2, 0, 1)[None] / 255
            features = extract(pictures.resize(image, options.size, options.size))
            found.append({layer: Statistics.from_features(features[layer]) for layer in _LAYERS})
        rows = [
            measure(layer, found[0][layer], found[1][layer], options.repeats) for layer in _LAYERS
        ]
    table = Table(title=f"{torch.get_num_threads()} threads, medians of {options.repeats}, in ms")
    for column in ("layer", "N", "M", "ours", *("NS float32", "ratio", "NS float64", "ratio")):
        table.add_column(column, justify="left" if column == "layer" else "right")
    total = tuple(map(sum, zip(*(row.seconds for row in rows), strict=True)))
    for row in [*rows, Row("all", 0, 0, total, ())]:
        ours, *others = row.seconds
        table.add_row(
            *(str(each or "") for each in row[:3]),
            f"{1000 * ours:.1f}",
            *(text for other in others for text in (f"{1000 * other:.1f}", f"{other / ours:.2f}")),
        )
    differences = Table(title="Relative difference of Newton-Schulz from ours")
    differences.add_column("layer")
    for method in ("float32", "float64", f"{_CONVERGED} iterations"):
        differences.add_column(f"{method}: value", justify="right")
        differences.add_column("gradient", justify="right")
    for row in rows:
        differences.add_row(row.layer, *(f"{each:.1e}" for pair in row.errors for each in pair))
    console = Console(width=110)
    console.print(table)
    console.print(differences)


if __name__ == "__main__":
    main()
