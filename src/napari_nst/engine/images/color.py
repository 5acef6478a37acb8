"""Color transfer and luminance-only transfer (Gatys et al., arXiv 1606.05897)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from napari_nst.engine.network.statistics import PositionWeights, Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["luminance", "match_colors", "monge_map", "optimized_mode", "prepare", "with_chroma"]

_LUMA = (0.299, 0.587, 0.114)  # the Y of YIQ and YCbCr (ITU-R BT.601)

# Added to the covariances of colours in [0, 1]: a tenth of a grey level, squared.  Without it the
# covariance of a grey or constant image is singular and the result NaN.
_REGULARISER = (0.1 / 255) ** 2

ColorMode = Literal["style", "palette", "luminance", "match"]


def optimized_mode(mode: ColorMode) -> ColorMode:
    """Return the mode with the same optimisation: "palette" only changes the picture after it."""
    return "style" if mode == "palette" else mode


def luminance(image: Tensor) -> Tensor:
    """Return the luminance of an image.

    Parameters
    ----------
    image : Tensor
        Shape (1, C, H, W), C of 1 or 3.

    Returns
    -------
    Tensor
        Shape (1, 1, H, W); a grey image is returned unchanged.
    """
    if image.shape[1] == 1:
        return image
    return (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def match_colors(
    style: Tensor,
    content: Tensor,
    visible: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """Recolour the style to the content's palette.

    The smallest linear change of the style's colours that gives them the mean and covariance of
    the content's (`monge_map`).  With one channel it is the luminance matching of the same
    paper, L' = sigma_C / sigma_S (L - mu_S) + mu_C.

    Parameters
    ----------
    style, content : Tensor
        Shape (1, C, H, W) with the same C; sizes may differ.
    visible : tuple of Tensor or None
        Visibility of the pixels of each, shape (1, H, W), as weights; None: all 1.

    Returns
    -------
    Tensor
        The recoloured style, clamped to [0, 1].
    """
    # On the CPU, in float64: MPS supports neither float64 nor eigh.
    of_style, of_content = (
        Statistics.from_features(
            image.cpu().double(),
            None if weights is None else PositionWeights.from_mask(weights[0].cpu().double()),
        )
        for image, weights in zip((style, content), visible, strict=True)
    )
    ridge = _REGULARISER * torch.eye(style.shape[1], dtype=torch.float64)
    transport = monge_map(of_style.covariance + ridge, of_content.covariance + ridge)
    before, after = (part.mean.to(style.dtype).to(style.device) for part in (of_style, of_content))
    # The transport of a flat image is large: centring first keeps the rounding error small.
    centred = style - before.view(1, -1, 1, 1)
    transport = transport.to(style.dtype).to(style.device)
    recolored = torch.einsum("ij,njhw->nihw", transport, centred)
    return (recolored + after.view(1, -1, 1, 1)).clamp(0, 1)


def monge_map(before: Tensor, after: Tensor) -> Tensor:
    """Return the symmetric matrix A with A S A = C for covariances S and C.

    A = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2, the Monge solution among those of arXiv 1606.05897,
    section 3: it moves colours least.

    Parameters
    ----------
    before : Tensor
        S, shape (N, N), positive definite.
    after : Tensor
        C, shape (N, N).
    """
    root, inverse = _power(before, 0.5), _power(before, -0.5)
    return inverse @ _power(root @ after @ root, 0.5) @ inverse


def prepare(
    content: Tensor,
    styles: list[Tensor],
    mode: ColorMode,
    visible: Sequence[Tensor | None] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return content and styles in the channels and colours for the optimisation.

    Parameters
    ----------
    content : Tensor
        Shape (1, C, H, W); with one channel everything becomes grey.
    styles : list of Tensor
        Shape (1, C', H', W') each.
    mode : {"style", "palette", "luminance", "match"}
        "luminance" keeps one channel of each and matches the styles' luminance to the
        content's; "match" recolours the styles; "style" and "palette" change nothing.
    visible : sequence of Tensor or None, optional
        Visibility of the content and of each style, as in `match_colors`.
    """
    if mode == "luminance" or content.shape[1] == 1:
        content, styles = luminance(content), [luminance(style) for style in styles]
    else:
        styles = [style.expand(-1, 3, -1, -1) for style in styles]
    if optimized_mode(mode) != "style":
        own, *others = visible or [None] * (1 + len(styles))
        styles = [
            match_colors(style, content, (other, own))
            for style, other in zip(styles, others, strict=True)
        ]
    return content, styles


def with_chroma(image: Tensor, content: Tensor) -> Tensor:
    """Return a luminance with the content's colour differences (I and Q of YIQ).

    Parameters
    ----------
    image : Tensor
        The optimised luminance, shape (1, 1, H, W).
    content : Tensor
        The content at the same size, shape (1, C, H, W).
    """
    return (content - luminance(content)).add_(image).clamp_(0, 1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    floor = torch.finfo(values.dtype).tiny
    powers: Tensor = vectors * values.clamp_min(floor).pow(exponent) @ vectors.mT
    return powers
