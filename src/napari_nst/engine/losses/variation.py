"""Total variation of an image, tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from napari_nst.engine.losses.terms import variation_term

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nst.engine.resources.tiles import Span, Tile

__all__ = ["add_variation"]


def add_variation(
    gradient: Tensor, window: Tensor, part: Tile, weight: float, visible: Tensor | None
) -> Tensor:
    """Add the gradient of a tile's total variation to a gradient; return the unweighted loss.

    Parameters
    ----------
    gradient, window : Tensor
        Shape (1, C, H, W): the gradient, changed in place, and the pixels that the tile reads.
    part : Tile
        The tile.
    weight : float
        Weight of the loss.
    visible : Tensor or None
        Shape (1, H, W): visibility of those pixels; None: all visible.

    Notes
    -----
    The interior of the tile is extended by a row and a column, replicated at the end of the image.
    """
    rows, columns = (_with_next(span) for span in (part.rows, part.columns))
    padded = _with_border(window)[..., rows, columns]
    seen = None if visible is None else _with_border(visible)[..., rows, columns]
    term = variation_term(padded, seen)
    found = term.gradient
    # The gradient at a replicated pixel belongs to the original one.
    if rows.stop > window.shape[-2]:
        found[..., -2, :].add_(found[..., -1, :])
    if columns.stop > window.shape[-1]:
        found[..., -2].add_(found[..., -1])
    onto = gradient[..., rows, columns]
    onto.add_(found[..., : onto.shape[-2], : onto.shape[-1]], alpha=weight)
    return term.value


def _with_border(pixels: Tensor) -> Tensor:
    """Return pixels with the last row and column replicated."""
    return functional.pad(pixels, (0, 1, 0, 1), mode="replicate")


def _with_next(span: Span) -> slice:
    """Return the interior of a tile and the next pixel, as indices of the pixels it reads."""
    return slice(span.start - span.read_start, span.stop - span.read_start + 1)
