r"""The losses of neural style transfer and their gradients, as pure functions.

For a layer with N channels and M positions, F (generated) and P (content) are its features as
N x M matrices.  Gatys, Ecker and Bethge (arXiv 1508.06576) define

.. math::

    L_{content} &= \tfrac12 \sum_{ij} (F_{ij} - P_{ij})^2                    && (1) \\
    G_{ij} &= \sum_k F_{ik} F_{jk}                                           && (3) \\
    E &= \frac{1}{4 N^2 M^2} \sum_{ij} (G_{ij} - A_{ij})^2                   && (4)

The gradients are in closed form.  The style losses are functions of `Statistics`, and divide each
Gram matrix by its own number of positions M, which is equation 4 where the sizes agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_nst.engine.network.statistics import TINY, WASSERSTEIN_RIDGE, Statistics
from napari_nst.engine.resources.decompositions import eigh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

__all__ = [
    "FLOAT64_STYLE_LOSSES",
    "MEAN_STYLE_LOSSES",
    "STYLE_TERMS",
    "ContentTerm",
    "Damp",
    "StyleTerm",
    "content_term",
    "gram_moments_term",
    "gram_term",
    "no_damping",
    "relative_content_term",
    "relative_gram_moments_term",
    "relative_gram_term",
    "relative_wasserstein_term",
    "variation_term",
    "wasserstein_term",
]

Damp: TypeAlias = "Callable[[str, Tensor], Tensor]"
"""Takes the name of a quantity and a gradient with respect to it; returns the gradient to use."""


@dataclass(frozen=True)
class ContentTerm:
    """A loss and its gradient with respect to features or pixels."""

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class StyleTerm:
    """A style loss of one layer and its gradient with respect to the means of the features.

    Attributes
    ----------
    value : Tensor
        Shape ().
    mean_gradient : Tensor or None
        dL/d(mean F), shape (N,), or None where the loss does not depend on it.
    moment_gradient : Tensor
        dL/d(mean F F^T), shape (N, N), symmetric.
    """

    value: Tensor
    mean_gradient: Tensor | None
    moment_gradient: Tensor


# Pairs of neighbours: their weight, and the later and the earlier pixel of each.
_Index: TypeAlias = tuple[EllipsisType, slice, slice]
_BEFORE, _AFTER = slice(None, -1), slice(1, None)
_NEIGHBOURS: tuple[tuple[float, _Index, _Index], ...] = (
    (2 / 3, (..., _BEFORE, _AFTER), (..., _BEFORE, _BEFORE)),
    (2 / 3, (..., _AFTER, _BEFORE), (..., _BEFORE, _BEFORE)),
    (1 / 6, (..., _AFTER, _AFTER), (..., _BEFORE, _BEFORE)),
    (1 / 6, (..., _BEFORE, _AFTER), (..., _AFTER, _BEFORE)),
)


def variation_term(padded: Tensor, weights: Tensor | None = None) -> ContentTerm:
    """Return the total variation of a part of an image over nine points, as a sum.

    The sum of squared differences to the right, downwards and along both diagonals, the diagonals
    at half weight for being twice as far (squared): weights 1/3, 1/3, 1/12 and 1/12, times two
    (crowsonkb, style-transfer-pytorch).

    Parameters
    ----------
    padded : Tensor
        Shape (1, C, H + 1, W + 1), values in [0, 1]: the part, with the next row and column; at
        the border of the image they are replicated.
    weights : Tensor, optional
        Shape (1, H + 1, W + 1), 0 or more: weight of each pixel; a pair has the smaller weight of
        its pixels.  None: all 1.

    Returns
    -------
    ContentTerm
        Its gradient has the shape of `padded`.
    """
    value, gradient = padded.new_zeros(()), torch.zeros_like(padded)
    for weight, after, before in _NEIGHBOURS:
        difference = padded[after] - padded[before]
        if weights is None:
            value.add_(difference.square().sum(), alpha=weight)
        else:
            both = torch.minimum(weights[after], weights[before])
            value.add_((both * difference.square()).sum(), alpha=weight)
            difference *= both
        gradient[after].add_(difference, alpha=2 * weight)
        gradient[before].sub_(difference, alpha=2 * weight)
    return ContentTerm(value, gradient)


def content_term(generated: Tensor, content: Tensor, weights: Tensor | None = None) -> ContentTerm:
    """Return equation 1 with its gradient F - P (equation 2).

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    weights : Tensor, optional
        Shape (H, W), 0 or more: weights of the positions.  None: all 1.
    """
    difference = generated - content
    return ContentTerm(0.5 * _sum_of_squares(difference, weights), _weighted(difference, weights))


def relative_content_term(
    generated: Tensor, content: Tensor, energy: float, weights: Tensor | None = None
) -> ContentTerm:
    """Return the squared difference of features relative to the content's own energy.

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    energy : float
        Sum of the content's squared features, with the same weights.  So the loss is 1 for
        features of 0, at every size and for every image.
    weights : Tensor, optional
        As for `content_term`.
    """
    scale = 1 / (energy + TINY)
    difference = generated - content
    value = _sum_of_squares(difference, weights) * scale
    return ContentTerm(value, _weighted(difference, weights).mul_(2 * scale))


def _sum_of_squares(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted sum of squares in float32 or wider: half precision is too coarse."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return _weighted(values.square(), weights).sum(dtype=wide)


def _weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply by the weights of the positions, in place."""
    return values if weights is None else values.mul_(weights.to(values.dtype))


def no_damping(quantity: str, gradient: Tensor) -> Tensor:
    """Return a gradient unchanged."""
    return gradient


def gram_term(generated: Statistics, target: Statistics, damp: Damp = no_damping) -> StyleTerm:
    """Return equation 4 with its gradient (equation 6)."""
    difference = generated.second_moment - target.second_moment
    scale = 1 / (4 * difference.shape[0] ** 2)
    value, gradient = difference.square().sum() * scale, 2 * scale * difference
    return StyleTerm(value, None, damp("gram", gradient))


def _normalized(
    difference: Tensor, level: Tensor | float, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Return (sum d^2 / sum |d|) / level, and a share of its gradient at d.

    Sums over the last two dimensions, with keepdim.

    Unlike a gradient divided by its norm, this is the gradient of a function.  It does not vanish
    with the difference, so layers close to their target keep improving.  The level
    (`Statistics.moment_level`: the same quotient of the target alone) makes the loss 1 for
    generated features of 0, at every layer and for every style, so that no layer dominates:
    unnormalised, relu1_1 and relu4_1 of VGG-16 are four decades apart.
    """
    # Not vector_norm: its order of summation depends on the number of threads.
    squared, absolute = (
        part.sum(dim=(-2, -1), keepdim=True) for part in (difference.square(), difference.abs())
    )
    absolute = absolute + TINY
    value = squared / absolute
    slope = torch.sub(difference, difference.sign().mul_(value), alpha=0.5)
    return value / level, slope.div_(absolute * (level / (2 * share)))


def relative_gram_term(
    generated: Statistics, target: Statistics, damp: Damp = no_damping
) -> StyleTerm:
    """Return the normalised difference of Gram matrices, each divided by its own M."""
    value, gradient = _relative_gram(generated, target, 1.0)
    return StyleTerm(value, None, damp("gram", gradient))


def _relative_gram(
    generated: Statistics, target: Statistics, share: float
) -> tuple[Tensor, Tensor]:
    """Return the normalised difference of Gram matrices, and a share of its gradient."""
    difference = generated.second_moment - target.second_moment
    value, gradient = _normalized(difference, target.moment_level, share)
    return value.view(()), gradient


def gram_moments_term(
    generated: Statistics, target: Statistics, damp: Damp = no_damping
) -> StyleTerm:
    """Return equation 4 plus the squared differences of means and of standard deviations.

    The Gram matrix mixes the means of the features with their spread, and one can compensate for
    the other; matching both separately preserves colours and brightness (Galerne et al., arXiv
    2212.13459, section 3.3).  Means and deviations enter as 1/N of the sum over the channels.
    """
    channels = generated.mean.shape[0]
    gram = gram_term(generated, target, damp)
    moments = generated.moments - target.moments
    value = torch.add(gram.value, moments.square().sum(), alpha=1 / channels)
    of_moments = damp("moments", 2 / channels * moments)
    return _with_moments(value, generated, of_moments, gram.moment_gradient)


def relative_gram_moments_term(
    generated: Statistics, target: Statistics, damp: Damp = no_damping
) -> StyleTerm:
    """Return the normalised differences of Gram matrices (1/2), means and deviations (1/4 each)."""
    gram, of_gram = _relative_gram(generated, target, 1 / 2)
    difference = generated.moments - target.moments
    moments, of_moments = _normalized(difference, target.moment_levels, 1 / 4)
    value = torch.add(gram / 2, moments.sum(), alpha=1 / 4)
    return _with_moments(value, generated, damp("moments", of_moments), damp("gram", of_gram))


def _with_moments(
    value: Tensor, statistics: Statistics, of_moments: Tensor, of_gram: Tensor
) -> StyleTerm:
    """Return a term from its gradients with respect to means, deviations and Gram matrix."""
    of_mean, of_std = of_moments[:, 0]
    of_variance = of_std / (2 * statistics.std)
    of_gram = of_gram.clone()
    of_gram.diagonal().add_(of_variance)
    of_mean = torch.addcmul(of_mean, of_variance, statistics.mean, value=-2)
    return StyleTerm(value, of_mean, of_gram)


def wasserstein_term(
    generated: Statistics, target: Statistics, damp: Damp = no_damping
) -> StyleTerm:
    r"""Return the squared 2-Wasserstein distance of two Gaussians, divided by N.

    With means mu and covariances S (regularised by `WASSERSTEIN_RIDGE`), and the target's
    marked t (Dowson and Landau 1982; as a style loss: crowsonkb, style-transfer-pytorch),

    .. math::

        L &= \frac1N \Big( |\mu - \mu_t|^2 + \operatorname{tr}\big(S + S_t
             - 2 (S_t^{1/2} S S_t^{1/2})^{1/2}\big) \Big) \\
        \frac{\partial L}{\partial S} &= \frac1N (I - T), \quad
        T = S_t^{1/2} (S_t^{1/2} S S_t^{1/2})^{-1/2} S_t^{1/2}

    T is the optimal transport between the two: the gradient moves every feature straight to its
    target.

    Rounding destroys the smallest eigenvalues of S_t^(1/2) S S_t^(1/2) and mixes their vectors.
    So only the vectors V of the decomposition are used: P = (S_t^(1/2) V)^T S (S_t^(1/2) V) is
    almost diagonal and has the eigenvalues to nearly all digits, at least the square of the
    ridge; its off-diagonal elements correct P^(-1/2) to first order.  The gradient at the features
    is then within 1e-7 of that from a singular value decomposition, which squares nothing, and
    takes 1.5 times as long on a CPU and 6 times on a GPU.

    The gradient is not damped.  T of an image a few steps ago, with hardly any spread in some
    direction, diverges once there is spread in that direction, and damping the means alone does
    not help (both tried).
    """
    mean = generated.mean - target.mean
    channels = mean.shape[0]
    root, covariance = target.covariance_root, generated.regular_covariance
    _, vectors = eigh(root @ covariance @ root)
    half = root @ vectors
    product = half.mT @ (covariance @ half)
    values = product.diagonal().clamp_min(WASSERSTEIN_RIDGE**2).sqrt()
    trace = covariance.trace() + target.regular_covariance.trace() - 2 * values.sum()
    inverse = product / -(values[:, None] * values * (values[:, None] + values))
    inverse.diagonal().copy_(1 / values)
    of_covariance = half @ inverse @ -half.mT
    of_covariance.diagonal().add_(1)
    of_mean = mean - of_covariance @ generated.mean
    value = (mean.square().sum() + trace) / channels
    return StyleTerm(value, of_mean.mul_(2 / channels), of_covariance.div_(channels))


def relative_wasserstein_term(
    generated: Statistics, target: Statistics, damp: Damp = no_damping
) -> StyleTerm:
    """Return the Wasserstein distance relative to the target's distance from a black image."""
    term = wasserstein_term(generated, target, damp)
    assert term.mean_gradient is not None
    scale = target.mean.shape[0] / (target.second_moment.trace() + TINY)
    return StyleTerm(term.value * scale, term.mean_gradient * scale, term.moment_gradient * scale)


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

FLOAT64_STYLE_LOSSES = frozenset({"wasserstein"})
"""Style losses that need sums in float64: rounding changes the smallest eigenvalues."""

MEAN_STYLE_LOSSES = frozenset({"gram+moments", "wasserstein"})
"""Style losses that need the means of the features besides those of their products."""
