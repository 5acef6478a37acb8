r"""The losses of neural style transfer, as pure functions.

For a layer with N channels and M positions, F (generated) and P (content) are its features as
N x M matrices.  Gatys, Ecker and Bethge (arXiv 1508.06576) define

.. math::

    L_{content} &= \tfrac12 \sum_{ij} (F_{ij} - P_{ij})^2                    && (1) \\
    G_{ij} &= \sum_k F_{ik} F_{jk}                                           && (3) \\
    E &= \frac{1}{4 N^2 M^2} \sum_{ij} (G_{ij} - A_{ij})^2                   && (4)

The functions of features (`content_loss`, `gram_matrix`, `style_loss`) say just that, and
autograd differentiates them.  The functions that end in ``_term`` are what a run uses: they have
their gradients in closed form, and those of style are functions of `Statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn import functional

from napari_nst.engine.losses.statistics import WASSERSTEIN_RIDGE, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

__all__ = [
    "STYLE_TERMS",
    "WANT_EXACT_SUMS",
    "ContentTerm",
    "Damp",
    "StyleTerm",
    "content_loss",
    "content_term",
    "exact",
    "gram_matrix",
    "gram_moments_term",
    "gram_term",
    "relative_content_term",
    "relative_gram_moments_term",
    "relative_gram_term",
    "relative_wasserstein_term",
    "style_loss",
    "total_variation",
    "variation_term",
    "wasserstein_term",
]

Damp: TypeAlias = "Callable[[str, Tensor], Tensor]"
"""What may change the gradient with respect to a quantity that is compared, known by its name."""

# Keeps quotients finite where generated and target features agree to the last bit.
_TINY = 1e-20


def gram_matrix(features: Tensor) -> Tensor:
    """Return the Gram matrix of features, F F^T (equation 3), divided by nothing.

    Parameters
    ----------
    features : Tensor
        Shape (..., N, H, W).

    Returns
    -------
    Tensor
        Shape (..., N, N).
    """
    matrix = features.flatten(-2)
    return matrix @ matrix.mT


def content_loss(generated: Tensor, content: Tensor) -> Tensor:
    """Return half the sum of squared differences between features (equation 1).

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    """
    return 0.5 * _sum_of_squares(generated - content)


def style_loss(generated: Tensor, style: Tensor) -> Tensor:
    """Return the paper's style loss E of one layer (equation 4), from features.

    The paper's style image has the content's size.  Here each Gram matrix is divided by its own
    number of positions M, which is equation 4 where the sizes agree.

    Parameters
    ----------
    generated, style : Tensor
        Features of one layer, shape (1, N, H, W) or (N, H, W); H and W may differ.
    """
    difference = Statistics.of(generated).moment - Statistics.of(style).moment
    return difference.square().sum() / (4 * difference.shape[0] ** 2)


def total_variation(image: Tensor) -> Tensor:
    """Return the total variation of an image over nine points, independent of its size.

    The mean squared difference to the right, downwards and along both diagonals, the diagonals
    at half weight for being twice as far (squared): weights 1/3, 1/3, 1/12 and 1/12, times two
    (crowsonkb, style-transfer-pytorch).  The border is replicated.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W), values in [0, 1].
    """
    padded = functional.pad(image, (0, 1, 0, 1), mode="replicate")
    parts = [weight * d.square().sum() for weight, d, _, _ in _differences(padded)]
    return torch.stack(parts).sum() / image.numel()


def variation_term(padded: Tensor, weights: Tensor | None = None) -> ContentTerm:
    """Return the sum that `total_variation` is the mean of, for a part of an image.

    Parameters
    ----------
    padded : Tensor
        Shape (1, C, H + 1, W + 1): the part, and a row and a column of what follows it.
    weights : Tensor, optional
        Shape (1, H + 1, W + 1), 0 or more: what each pixel counts; two neighbours count as the
        lesser of them.  None: all 1.

    Returns
    -------
    ContentTerm
        Its gradient is that at all of `padded`.
    """
    value, gradient = padded.new_zeros(()), torch.zeros_like(padded)
    for weight, difference, more, less in _differences(padded):
        if weights is None:
            value += weight * difference.square().sum()
        else:
            both = torch.minimum(weights[more], weights[less])
            value += weight * (both * difference.square()).sum()
            difference *= both
        gradient[more] += difference.mul_(2 * weight)
        gradient[less] -= difference
    return ContentTerm(value, gradient)


_Index: TypeAlias = tuple[EllipsisType, slice, slice]
_FORMER, _LATTER = slice(None, -1), slice(1, None)
_NEIGHBOURS: tuple[tuple[float, _Index, _Index], ...] = (
    (2 / 3, (..., _FORMER, _LATTER), (..., _FORMER, _FORMER)),
    (2 / 3, (..., _LATTER, _FORMER), (..., _FORMER, _FORMER)),
    (1 / 6, (..., _LATTER, _LATTER), (..., _FORMER, _FORMER)),
    (1 / 6, (..., _FORMER, _LATTER), (..., _LATTER, _FORMER)),
)


def _differences(padded: Tensor) -> Iterator[tuple[float, Tensor, _Index, _Index]]:
    """Yield the weight of each kind of neighbours, their differences, and where they are."""
    for weight, more, less in _NEIGHBOURS:
        yield weight, padded[more] - padded[less], more, less


@dataclass(frozen=True)
class ContentTerm:
    """A loss and its gradient with respect to what it was given."""

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class StyleTerm:
    """A style loss of one layer and its gradient with respect to the statistics.

    Attributes
    ----------
    value : Tensor
        Shape ().
    first : Tensor or None
        dL/d(sum F), shape (N,), or None where the loss does not depend on it.
    second : Tensor
        dL/d(sum F F^T), shape (N, N), symmetric.
    """

    value: Tensor
    first: Tensor | None
    second: Tensor


def content_term(generated: Tensor, content: Tensor, weights: Tensor | None = None) -> ContentTerm:
    """Return equation 1 with its gradient F - P (equation 2).

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    weights : Tensor, optional
        Shape (H, W), 0 or more: what each position counts.  None: all 1.
    """
    difference = generated - content
    return ContentTerm(0.5 * _sum_of_squares(difference, weights), _weighted(difference, weights))


def relative_content_term(
    generated: Tensor, content: Tensor, energy: Tensor, weights: Tensor | None = None
) -> ContentTerm:
    """Return the squared difference of features relative to the content's own energy.

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    energy : Tensor
        The sum of the content's squared features, with the same weights.  The loss is 1 where the
        features are 0, at every size and for every image.
    weights : Tensor, optional
        As for `content_term`.
    """
    scale = 1 / (energy + _TINY)
    difference = generated - content
    value = _sum_of_squares(difference, weights) * scale
    gradient = _weighted(difference, weights).mul_((2 * scale).to(difference.dtype))
    return ContentTerm(value, gradient)


def _sum_of_squares(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sum in float32 or wider: half precision can hardly count it."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return _weighted(values.square(), weights).sum(dtype=wide)


def _weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply by what each position counts, in place."""
    return values if weights is None else values.mul_(weights.to(values.dtype))


def exact(quantity: str, gradient: Tensor) -> Tensor:
    """Return a gradient as it is."""
    return gradient


def gram_term(generated: Statistics, target: Statistics, damp: Damp = exact) -> StyleTerm:
    """Return equation 4 with its gradient (equation 6), from statistics."""
    difference = generated.moment - target.moment
    scale = 1 / (4 * difference.shape[0] ** 2)
    value, gradient = difference.square().sum() * scale, 2 * scale * difference
    return StyleTerm(value, None, damp("gram", gradient) / generated.weight)


def _normalized(difference: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return (sum d^2 / sum |d|) / (sum a^2 / sum |a|) and its gradient with respect to d.

    The numerator is the form of normalising by the gradient that is itself the gradient of a
    function: its gradient's size does not vanish as the difference does, so that a layer that is
    nearly right goes on improving.  The denominator makes the loss 1 where the generated
    quantity is 0, at every layer and for every style, so that no layer drowns another:
    unnormalised, relu1_1 and relu4_1 of VGG-16 are four decades apart.
    """
    squared, absolute = difference.square().sum(), difference.abs().sum() + _TINY
    level = (target.square().sum() + _TINY) / (target.abs().sum() + _TINY)
    value = squared / absolute
    return value / level, (2 * difference - value * difference.sign()) / (absolute * level)


def relative_gram_term(generated: Statistics, target: Statistics, damp: Damp = exact) -> StyleTerm:
    """Return the normalised difference of Gram matrices, each divided by its own M."""
    value, gradient = _normalized(generated.moment - target.moment, target.moment)
    return StyleTerm(value, None, damp("gram", gradient) / generated.weight)


def gram_moments_term(generated: Statistics, target: Statistics, damp: Damp = exact) -> StyleTerm:
    """Return equation 4 plus the squared differences of means and of standard deviations.

    The Gram matrix mixes the mean of the features with their spread, and can trade one for the
    other; matching both apart holds colours and brightness (Galerne et al., arXiv 2212.13459,
    section 3.3).  Means and deviations enter as 1/N of the sum over the channels.
    """
    channels = generated.first.shape[0]
    gram = gram_term(generated, target, damp)
    mean, deviation = generated.mean - target.mean, generated.deviation - target.deviation
    of_mean = damp("mean", 2 / channels * mean)
    of_deviation = damp("deviation", 2 / channels * deviation)
    first, second = _through_moments(generated, of_mean, of_deviation)
    value = gram.value + (mean.square().sum() + deviation.square().sum()) / channels
    return StyleTerm(value, first, gram.second + second)


def relative_gram_moments_term(
    generated: Statistics, target: Statistics, damp: Damp = exact
) -> StyleTerm:
    """Return the normalised differences of Gram matrices, of means and of deviations.

    Half of it is the Gram matrices', a quarter each the means' and the deviations'.
    """
    gram = relative_gram_term(generated, target, damp)
    mean, of_mean = _normalized(generated.mean - target.mean, target.mean)
    deviation, of_deviation = _normalized(generated.deviation - target.deviation, target.deviation)
    of_mean, of_deviation = damp("mean", of_mean), damp("deviation", of_deviation)
    first, second = _through_moments(generated, of_mean / 4, of_deviation / 4)
    value = gram.value / 2 + (mean + deviation) / 4
    return StyleTerm(value, first, gram.second / 2 + second)


def _through_moments(
    statistics: Statistics, of_mean: Tensor, of_deviation: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a gradient with respect to the sums, from that to means and deviations."""
    of_variance = of_deviation / (2 * statistics.deviation)
    first = of_mean - 2 * of_variance * statistics.mean
    return first / statistics.weight, torch.diag(of_variance / statistics.weight)


def wasserstein_term(generated: Statistics, target: Statistics, damp: Damp = exact) -> StyleTerm:
    r"""Return the squared 2-Wasserstein distance of two Gaussians, divided by N.

    With means mu and covariances S (regularised by `WASSERSTEIN_RIDGE`), and the target's
    marked t (Dowson and Landau 1982; as a style loss: crowsonkb, style-transfer-pytorch),

    .. math::

        L &= \frac1N \Big( |\mu - \mu_t|^2 + \operatorname{tr}\big(S + S_t
             - 2 (S_t^{1/2} S S_t^{1/2})^{1/2}\big) \Big) \\
        \frac{\partial L}{\partial S} &= \frac1N (I - T), \quad
        T = S_t^{1/2} (S_t^{1/2} S S_t^{1/2})^{-1/2} S_t^{1/2}

    T is the optimal transport from the one to the other, so that the gradient moves every
    feature straight to where it should be.

    With S = F F^T and the polar decomposition F^T S_t^(1/2) = U H, where H is the root in the
    trace, T = F^-T U S_t^(1/2). Nothing is squared on the way: eigenvalues of S_t^(1/2) S
    S_t^(1/2) would lose, where there are fewer positions than channels, half of their digits.

    The gradient is always exact: T of an image a few steps ago, where some direction had hardly
    any spread, blows up what has spread there by now (tried), and of means alone damping gains
    nothing.
    """
    channels = generated.first.shape[0]
    mean = generated.mean - target.mean
    root = target.covariance_root
    covariance = generated.regular_covariance
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:  # rounding of the sums can take away more than the ridge adds
        values, vectors = torch.linalg.eigh(covariance)
        factor = vectors * values.clamp_min(WASSERSTEIN_RIDGE).sqrt()
    left, values, right = torch.linalg.svd(factor.mT @ root)
    trace = covariance.trace() + target.regular_covariance.trace() - 2 * values.sum()
    transport = torch.linalg.solve(factor.mT, left @ right @ root)
    of_covariance = -(transport + transport.mT) / (2 * channels)
    of_covariance.diagonal().add_(1 / channels)
    first = 2 * mean / channels - 2 * of_covariance @ generated.mean
    weight = generated.weight
    return StyleTerm(
        (mean.square().sum() + trace) / channels, first / weight, of_covariance / weight
    )


def relative_wasserstein_term(
    generated: Statistics, target: Statistics, damp: Damp = exact
) -> StyleTerm:
    """Return the Wasserstein distance relative to the target's distance from a black image."""
    term = wasserstein_term(generated, target, damp)
    scale = target.first.shape[0] / (target.moment.trace() + _TINY)
    first = None if term.first is None else term.first * scale
    return StyleTerm(term.value * scale, first, term.second * scale)


STYLE_TERMS: Mapping[tuple[str, bool], Callable[[Statistics, Statistics, Damp], StyleTerm]] = (
    MappingProxyType(
        {
            ("gram", False): gram_term,
            ("gram", True): relative_gram_term,
            ("gram+moments", False): gram_moments_term,
            ("gram+moments", True): relative_gram_moments_term,
            ("wasserstein", False): wasserstein_term,
            ("wasserstein", True): relative_wasserstein_term,
        }
    )
)
"""The style losses by the settings `style_loss` and `normalize_gradients`."""

WANT_EXACT_SUMS = frozenset({"wasserstein"})
"""Those of the setting `style_loss` that see how the smallest eigenvalues are rounded."""
