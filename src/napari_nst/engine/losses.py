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
from typing import TYPE_CHECKING

from torch.nn import functional

from napari_nst.engine.statistics import Statistics

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ContentTerm",
    "StyleTerm",
    "content_loss",
    "content_term",
    "gram_matrix",
    "gram_term",
    "relative_content_term",
    "relative_gram_term",
    "style_loss",
    "total_variation",
]

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
    return 0.5 * (generated - content).square().sum()


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
    corner, right = padded[..., :-1, :-1], padded[..., :-1, 1:]
    below, opposite = padded[..., 1:, :-1], padded[..., 1:, 1:]
    straight = (right - corner).square().mean() + (below - corner).square().mean()
    diagonal = (opposite - corner).square().mean() + (right - below).square().mean()
    return 2 * (straight / 3 + diagonal / 12)


@dataclass(frozen=True)
class ContentTerm:
    """A content loss of one layer and its gradient with respect to the features."""

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


def content_term(generated: Tensor, content: Tensor) -> ContentTerm:
    """Return equation 1 with its gradient F - P (equation 2)."""
    difference = generated - content
    return ContentTerm(0.5 * difference.square().sum(), difference)


def relative_content_term(generated: Tensor, content: Tensor, energy: Tensor) -> ContentTerm:
    """Return the squared difference of features relative to the content's own energy.

    Parameters
    ----------
    generated, content : Tensor
        Features of one layer, of one shape.
    energy : Tensor
        The sum of the content's squared features.  The loss is 1 where the features are 0, at
        every size and for every image.
    """
    scale = 1 / (energy + _TINY)
    difference = generated - content
    return ContentTerm(
        difference.square().sum() * scale, difference.mul_((2 * scale).to(difference.dtype))
    )


def gram_term(generated: Statistics, target: Statistics) -> StyleTerm:
    """Return equation 4 with its gradient (equation 6), from statistics."""
    difference = generated.moment - target.moment
    scale = 1 / (4 * difference.shape[0] ** 2)
    return StyleTerm(
        difference.square().sum() * scale, None, 2 * scale / generated.weight * difference
    )


def relative_gram_term(generated: Statistics, target: Statistics) -> StyleTerm:
    r"""Return the difference of Gram matrices normalised by its own gradient, and relative.

    With D the difference of the Gram matrices, each divided by its own M, and A the target,

    .. math:: L = \frac{\sum D^2 / \sum |D|}{\sum A^2 / \sum |A|}

    The numerator is the form of normalising by the gradient that is itself the gradient of a
    function: its gradient with respect to the Gram matrix has a size that does not vanish as the
    difference does, so that a layer that is nearly right goes on improving.  The denominator
    makes the loss 1 for a black image at every layer, for every style, so that no layer drowns
    another: unnormalised, relu1_1 and relu4_1 of VGG-16 are four decades apart.
    """
    difference = generated.moment - target.moment
    squared, absolute = difference.square().sum(), difference.abs().sum() + _TINY
    level = (target.moment.square().sum() + _TINY) / (target.moment.abs().sum() + _TINY)
    value = squared / absolute
    gradient = (2 * difference - value * difference.sign()) / absolute
    return StyleTerm(value / level, None, gradient / (level * generated.weight))
