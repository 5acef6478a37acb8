"""Additive sums of features: the one path from features to every style loss.

With F the features of a layer as an N x M matrix, the sums are M, sum F and sum F F^T.  Sums of
tiles add up to the sums of the whole image; the Gram matrix, the mean, the standard deviation and
the covariance are quotients of sums.  A loss that depends on features through its means g1 = dL /
d(mean F) and G2 = dL / d(mean F F^T) has the gradient ``(g1 + 2 G2 F) / M`` with respect to the
features: that is all a tile needs to know of the rest of the image.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from napari_nst.engine.resources.decompositions import eigh
from napari_nst.engine.resources.precision import wide_dtype
from napari_nst.engine.resources.strips import strips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = [
    "TINY",
    "WASSERSTEIN_RIDGE",
    "PositionWeights",
    "Statistics",
    "feature_gradient",
]


# Added to the diagonal of a covariance for the Wasserstein loss (crowsonkb,
# style-transfer-pytorch): where there are fewer positions than channels it is singular.
WASSERSTEIN_RIDGE = 1e-4

# Keeps quotients finite where generated and target features agree to the last bit.
TINY = 1e-20

# Added to a variance before its root is taken.
_VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True)
class PositionWeights:
    """Positions of a layer that count, and their weights.

    Regions lie side by side: without the positions that each leaves out, all of them together
    cost no more than one that is everywhere.

    Attributes
    ----------
    indices : Tensor
        Shape (K,), int64: the positions, row by row, in ascending order.
    values : Tensor
        Shape (K,): their weights, greater than 0.
    total : float
        The sum of the weights.
    """

    indices: Tensor
    values: Tensor
    total: float

    @classmethod
    def from_mask(cls, mask: Tensor) -> PositionWeights:
        """Select the positions of a mask that are not 0; on a GPU this waits for the device.

        Parameters
        ----------
        mask : Tensor
            Shape (H, W), values of 0 or more.
        """
        flat = mask.flatten()
        indices = flat.nonzero().squeeze(1)
        values = flat[indices]
        return cls(indices, values, float(values.sum(dtype=wide_dtype(mask.device))))

    def between(self, first: int, last: int) -> slice:
        """Return the slice of the positions from `first` to before `last`; for processors."""
        bounds = torch.tensor([first, last], device=self.indices.device)
        start, stop = torch.searchsorted(self.indices, bounds).tolist()
        return slice(start, stop)


@dataclass(frozen=True)
class Statistics:
    """Sums over positions of the features of one layer.

    Attributes
    ----------
    weight : float
        The sum of the positions' weights w: their number M where none are given.
    feature_sum : Tensor or None
        The sum of w F.  Shape (N,).  None: it was not asked for.
    outer_sum : Tensor
        The sum of w F F^T.  Shape (N, N).

    Notes
    -----
    The sums are kept in float64 where the device has it: a loss is a small difference of large
    sums, and these matrices are small.
    """

    weight: float
    feature_sum: Tensor | None
    outer_sum: Tensor

    @classmethod
    def from_features(
        cls,
        features: Tensor,
        weights: PositionWeights | None = None,
        *,
        exact: bool = False,
        means: bool = True,
    ) -> Statistics:
        """Sum the features of one layer.

        Parameters
        ----------
        features : Tensor
            Shape (..., N, H, W); leading dimensions must be 1.
        weights : PositionWeights, optional
            Weights of the positions.  The sums are sum w, sum w F and sum w F F^T, which are
            those of features guided by T = sqrt(w) (arXiv 1611.07865, equation 2).
        exact : bool
            Multiply in float64, too, where there are fewer positions than channels.  The covariance
            is singular then, and a Wasserstein distance sees the rounding of products in float32.
        means : bool
            Whether to sum F itself; Gram matrices do without it.
        """
        channels, height, width = features.shape[-3:]
        positions = height * width if weights is None else len(weights.indices)
        total = float(positions) if weights is None else weights.total
        dtype = torch.promote_types(features.dtype, torch.float32)
        if exact and positions < channels:
            dtype = wide_dtype(features.device)
        return cls(total, *_sums(features, weights, dtype, means))

    def __add__(self, other: Statistics) -> Statistics:
        """Return the sums over the positions of both."""
        sums = None
        if self.feature_sum is not None and other.feature_sum is not None:
            sums = self.feature_sum + other.feature_sum
        return Statistics(self.weight + other.weight, sums, self.outer_sum + other.outer_sum)

    def scaled(self, factor: float) -> Statistics:
        """Return the sums with every position's weight multiplied by a factor."""
        sums = None if self.feature_sum is None else self.feature_sum * factor
        return Statistics(self.weight * factor, sums, self.outer_sum * factor)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of F, shape (N,)."""
        assert self.feature_sum is not None, "the means were not asked for"
        return self.feature_sum / self.weight

    @cached_property
    def second_moment(self) -> Tensor:
        """The mean of F F^T, shape (N, N): the Gram matrix divided by its own M."""
        return self.outer_sum / self.weight

    @cached_property
    def covariance(self) -> Tensor:
        """The covariance of F, shape (N, N)."""
        return torch.addr(self.second_moment, self.mean, self.mean, alpha=-1)

    @cached_property
    def std(self) -> Tensor:
        """The standard deviation of F, shape (N,), never 0: a dead channel has no gradient."""
        variance = torch.addcmul(self.second_moment.diagonal(), self.mean, self.mean, value=-1)
        return (variance + _VARIANCE_FLOOR).clamp_min(_VARIANCE_FLOOR).sqrt()

    @cached_property
    def regular_covariance(self) -> Tensor:
        """The covariance plus a small multiple of the identity, which makes it invertible."""
        # Products in float32 are not quite symmetric.
        covariance = (self.covariance + self.covariance.mT) / 2
        covariance.diagonal().add_(WASSERSTEIN_RIDGE)
        return covariance

    @cached_property
    def covariance_root(self) -> Tensor:
        """The symmetric square root of the regularised covariance, shape (N, N)."""
        values, vectors = eigh(self.regular_covariance)
        root: Tensor = vectors * values.clamp_min(WASSERSTEIN_RIDGE).sqrt() @ vectors.mT
        return root

    @cached_property
    def moments(self) -> Tensor:
        """Mean and standard deviation, shape (2, 1, N)."""
        return torch.stack([self.mean, self.std])[:, None]

    @cached_property
    def moment_level(self) -> float:
        """The sum of the squared second moments over the sum of their sizes.

        Reading it the first time waits for the device.
        """
        return float(_level(self.second_moment))

    @cached_property
    def moment_levels(self) -> Tensor:
        """The same of the means and of the standard deviations, shape (2, 1, 1)."""
        return _level(self.moments)

    @staticmethod
    def blend(statistics: Iterable[Statistics], weights: Iterable[float]) -> Statistics:
        """Blend several styles: the statistics of a picture that is so much of each.

        Means and moments are blended, never covariances: a half-and-half picture of two flat
        colours is not flat.

        Parameters
        ----------
        statistics : iterable of Statistics
            One for each style, whatever the size of the style image.
        weights : iterable of float
            The share of each; they need not sum to one.
        """
        pairs = list(zip(statistics, weights, strict=True))
        total = sum(weight for _, weight in pairs)
        parts = [part.scaled(weight / (total * part.weight)) for part, weight in pairs]
        return reduce(operator.add, parts)


def _level(values: Tensor) -> Tensor:
    squares, sizes = (
        part.sum(dim=(-2, -1), keepdim=True) for part in (values.square(), values.abs())
    )
    return (squares + TINY) / (sizes + TINY)


def feature_gradient(
    features: Tensor,
    mean_gradient: Tensor | None,
    moment_gradient: Tensor,
    weights: PositionWeights | None = None,
    *,
    scale: float = 1.0,
    onto: Tensor | None = None,
) -> Tensor:
    """Return a loss's gradient with respect to features from that with respect to their means.

    Parameters
    ----------
    features : Tensor
        Shape (..., N, H, W).
    mean_gradient : Tensor or None
        g1, shape (N,); None where the loss does not depend on the mean of F.
    moment_gradient : Tensor
        G2, shape (N, N).  Symmetric.
    weights : PositionWeights, optional
        The weights w of the positions, where the sums have them.
    scale : float
        A factor: 1 / (sum of w), if the gradients are those with respect to the means.
    onto : Tensor, optional
        Of the features' shape and dtype: the gradient is added to it, in place.

    Returns
    -------
    Tensor
        ``scale w (g1 + 2 G2 F)``, in the shape and dtype of the features, channels last in
        memory as the network's features are.
    """
    double = torch.mul(moment_gradient, 2 * scale).to(features.dtype)
    first = None if mean_gradient is None else (scale * mean_gradient).to(features.dtype)
    matrix = _as_matrix(features)
    if onto is None:
        onto = features.new_zeros(matrix.shape[::-1]).mT.reshape(features.shape)
    if weights is not None:
        gradient = matrix.new_zeros(matrix.shape[::-1])
        chosen = _linear(matrix[:, weights.indices], first, double)
        gradient[weights.indices] = chosen.mul_(weights.values.to(matrix.dtype)[:, None])
    elif _is_for_onednn(matrix):
        kernel = double[..., None, None]
        here = functional.conv2d(_as_features(matrix), kernel, first)
        return onto.add_(here.reshape(onto.shape))
    elif _rows_are_adjacent(onto):
        _as_matrix(onto).mT.addmm_(matrix.mT, double)
        return onto if first is None else onto.add_(first[:, None, None])
    else:
        gradient = _linear(matrix, first, double)
    return onto.add_(gradient.mT.reshape(onto.shape))


def _rows_are_adjacent(features: Tensor) -> bool:
    """Return whether features can be viewed as a matrix: nothing lies between their rows."""
    *_, width = features.shape
    *_, of_row, of_column = features.stride()
    return features.shape[-2] == 1 or of_row == width * of_column


def _linear(matrix: Tensor, first: Tensor | None, double: Tensor) -> Tensor:
    """Return (first + double F)^T, of shape (M, N)."""
    if first is None:
        return matrix.mT @ double
    return torch.addmm(first, matrix.mT, double)


def _sums(
    features: Tensor, weights: PositionWeights | None, dtype: torch.dtype, means: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the sums of w F and w F F^T, of products in a dtype added up in float64."""
    wide = wide_dtype(features.device)
    channels, _, width = features.shape[-3:]
    first = second = None
    for rows in strips(features):
        strip = _as_matrix(features[..., rows, :])
        if weights is not None:
            indices, values = weights.indices, weights.values
            if strip.shape[1] != features.shape[-2] * width:
                own = weights.between(rows.start * width, rows.stop * width)
                indices, values = indices[own] - rows.start * width, values[own]
            strip = strip[:, indices]
        strip = weighted = strip.to(dtype)
        if weights is not None:
            weighted = strip * values.to(dtype)
        if means:
            here = weighted.sum(dim=1).to(wide)
            first = here if first is None else first.add_(here)
        products = _products(weighted, strip).to(wide)
        second = products if second is None else second.add_(products)
    if second is None:  # a tile without a row of this layer
        second = torch.zeros((channels, channels), dtype=wide, device=features.device)
        first = second.new_zeros(channels) if means else None
    return first, second


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return F G^T of matrices (N, M)."""
    if _is_for_onednn(one):
        channels = one.shape[0]
        kernel = (channels, channels, 1, 1)
        found: Tensor = conv2d_weight(_as_features(other), kernel, _as_features(one))  # type: ignore[no-untyped-call]
        return found.view(kernel[:2])
    return one @ other.mT


def _is_for_onednn(matrix: Tensor) -> bool:
    """Return whether to write products of matrices as convolutions.

    With a kernel of 1 x 1 a convolution is F -> G F, and its gradient with respect to the kernel
    is a sum of products.  In float32 oneDNN does them in half the time of torch's BLAS on an AMD
    processor with AVX-512, and rounds alike.  It works on blocks of 16 channels, and asks for at
    least one position.
    """
    on_cpu = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return on_cpu and matrix.shape[0] % 16 == 0 and matrix.numel() > 0


def _as_matrix(features: Tensor) -> Tensor:
    """View features (..., N, H, W) as a matrix (N, M); a view in either memory layout."""
    return features.reshape(features.shape[-3:]).flatten(1)


def _as_features(matrix: Tensor) -> Tensor:
    """View a matrix (N, M) as features (1, N, 1, M), channels last in memory as oneDNN has them."""
    rows = matrix.mT.contiguous()
    return rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)
