"""Additive sums of features, which all style losses are functions of.

With F the features of a layer as an N x M matrix, the sums are M, sum F and sum F F^T.  Sums of
tiles add up to the sums of the whole image; the Gram matrix, the mean, the standard deviation and
the covariance are quotients of sums.  A loss that depends on features through its means g1 = dL /
d(mean F) and G2 = dL / d(mean F F^T) has the gradient ``(g1 + 2 G2 F) / M`` with respect to the
features: all that a tile needs from the rest of the image.
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

# Keeps quotients finite where generated and target features are equal.
TINY = 1e-20

# Added to a variance before its root is taken.
_VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True)
class PositionWeights:
    """Positions of a layer with nonzero weights.

    Regions lie side by side: without the positions outside each, all of them together cost no
    more than one region of the whole image.

    Attributes
    ----------
    indices : Tensor
        Shape (K,), int64: positions in row-major order, ascending.
    values : Tensor
        Shape (K,): their weights, above 0.
    total : float
        The sum of the weights.
    """

    indices: Tensor
    values: Tensor
    total: float

    @classmethod
    def from_mask(cls, mask: Tensor) -> PositionWeights:
        """Return the nonzero positions of a mask; on a GPU this waits for the device.

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
        """Return the slice of positions from `first` to before `last`; on a GPU it would wait."""
        bounds = torch.tensor([first, last], device=self.indices.device)
        start, stop = torch.searchsorted(self.indices, bounds).tolist()
        return slice(start, stop)


@dataclass(frozen=True)
class Statistics:
    """Sums over positions of the features of one layer.

    Attributes
    ----------
    weight : float
        Sum of the weights w of the positions; without weights, their number M.
    feature_sum : Tensor or None
        Sum of w F, shape (N,); None if it was not computed.
    outer_sum : Tensor
        Sum of w F F^T, shape (N, N).

    Notes
    -----
    The sums are in float64 if the device supports it: a loss is a small difference of large sums,
    and these matrices are small.
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
            Also multiply in float64 if there are fewer positions than channels.  The covariance is
            singular then, and the Wasserstein distance is sensitive to rounding in float32.
        means : bool
            Whether to sum F, which Gram matrices do not need.
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
        feature_sum = None
        if self.feature_sum is not None and other.feature_sum is not None:
            feature_sum = self.feature_sum + other.feature_sum
        return Statistics(self.weight + other.weight, feature_sum, self.outer_sum + other.outer_sum)

    def scaled(self, factor: float) -> Statistics:
        """Return the sums with every position's weight multiplied by a factor."""
        feature_sum = None if self.feature_sum is None else self.feature_sum * factor
        return Statistics(self.weight * factor, feature_sum, self.outer_sum * factor)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of F, shape (N,)."""
        assert self.feature_sum is not None, "the sum of the features was not computed"
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
        """Quotient sum x^2 / sum |x| of the second moments; the first access waits for a GPU."""
        return float(_level(self.second_moment))

    @cached_property
    def moment_levels(self) -> Tensor:
        """The same quotient of the means and of the standard deviations, shape (2, 1, 1)."""
        return _level(self.moments)

    @staticmethod
    def blend(statistics: Iterable[Statistics], weights: Iterable[float]) -> Statistics:
        """Return the statistics of a mixture of several styles.

        Means and second moments are averaged, not covariances: the mixture of two flat colours is
        not flat.

        Parameters
        ----------
        statistics : iterable of Statistics
            Statistics of each style; the sizes of the style images do not matter.
        weights : iterable of float
            Share of each style; they need not sum to one.
        """
        pairs = list(zip(statistics, weights, strict=True))
        total = sum(weight for _, weight in pairs)
        parts = [part.scaled(weight / (total * part.weight)) for part, weight in pairs]
        return reduce(operator.add, parts)


def _level(values: Tensor) -> Tensor:
    """Return sum x^2 / sum |x| over the last two dimensions."""
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
        g1, shape (N,); None if the loss does not depend on the mean of F.
    moment_gradient : Tensor
        G2, shape (N, N), symmetric.
    weights : PositionWeights, optional
        Weights w of the positions; None: all 1.
    scale : float
        Factor: 1 / (sum of w) for gradients with respect to means.
    onto : Tensor, optional
        Tensor of the features' shape and dtype; the gradient is added to it in place.

    Returns
    -------
    Tensor
        ``scale w (g1 + 2 G2 F)``, in the shape and dtype of the features, channels last.
    """
    slope = torch.mul(moment_gradient, 2 * scale).to(features.dtype)
    offset = None if mean_gradient is None else (scale * mean_gradient).to(features.dtype)
    matrix = _as_matrix(features)
    if onto is None:
        onto = features.new_zeros(matrix.shape[::-1]).mT.reshape(features.shape)
    if weights is not None:
        gradient = matrix.new_zeros(matrix.shape[::-1])
        selected = _linear(matrix[:, weights.indices], offset, slope)
        gradient[weights.indices] = selected.mul_(weights.values.to(matrix.dtype)[:, None])
    elif _is_for_onednn(matrix):
        gradient = functional.conv2d(_as_features(matrix), slope[..., None, None], offset)
        return onto.add_(gradient.reshape(onto.shape))
    elif _rows_are_adjacent(onto):
        _as_matrix(onto).mT.addmm_(matrix.mT, slope)
        return onto if offset is None else onto.add_(offset[:, None, None])
    else:
        gradient = _linear(matrix, offset, slope)
    return onto.add_(gradient.mT.reshape(onto.shape))


def _rows_are_adjacent(features: Tensor) -> bool:
    """Return whether the rows of features are contiguous, so that a matrix can view them."""
    *_, width = features.shape
    *_, row_stride, column_stride = features.stride()
    return features.shape[-2] == 1 or row_stride == width * column_stride


def _linear(matrix: Tensor, offset: Tensor | None, slope: Tensor) -> Tensor:
    """Return (offset + slope F)^T, shape (M, N)."""
    return matrix.mT @ slope if offset is None else torch.addmm(offset, matrix.mT, slope)


def _sums(
    features: Tensor, weights: PositionWeights | None, dtype: torch.dtype, means: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the sums of w F and w F F^T, with products in a dtype and sums in float64."""
    wide = wide_dtype(features.device)
    channels, _, width = features.shape[-3:]
    feature_sum = outer_sum = None
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
            part = weighted.sum(dim=1).to(wide)
            feature_sum = part if feature_sum is None else feature_sum.add_(part)
        products = _products(weighted, strip).to(wide)
        outer_sum = products if outer_sum is None else outer_sum.add_(products)
    if outer_sum is None:  # a tile without a row of this layer
        outer_sum = torch.zeros((channels, channels), dtype=wide, device=features.device)
        feature_sum = outer_sum.new_zeros(channels) if means else None
    return feature_sum, outer_sum


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return F G^T of matrices (N, M)."""
    if _is_for_onednn(one):
        channels = one.shape[0]
        kernel = (channels, channels, 1, 1)
        found: Tensor = conv2d_weight(_as_features(other), kernel, _as_features(one))  # type: ignore[no-untyped-call]
        return found.view(kernel[:2])
    return one @ other.mT


def _is_for_onednn(matrix: Tensor) -> bool:
    """Return whether to compute products of matrices as convolutions.

    A convolution with a kernel of 1 x 1 is F -> G F, and its gradient with respect to the kernel
    is a sum of products.  In float32 oneDNN takes half the time of torch's BLAS on an AMD CPU
    with AVX-512, and rounds alike.  It needs multiples of 16 channels and at least one position.
    """
    on_cpu = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return on_cpu and matrix.shape[0] % 16 == 0 and matrix.numel() > 0


def _as_matrix(features: Tensor) -> Tensor:
    """View features (..., N, H, W) as a matrix (N, M), in either memory layout."""
    return features.reshape(features.shape[-3:]).flatten(1)


def _as_features(matrix: Tensor) -> Tensor:
    """Return a matrix (N, M) as features (1, N, 1, M), channels last as oneDNN needs them."""
    rows = matrix.mT.contiguous()
    return rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)
