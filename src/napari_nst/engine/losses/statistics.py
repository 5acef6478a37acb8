"""Additive sums of features: the one path from features to every style loss.

The sums of two tiles, of two regions or of two styles add up, and so do their weights; the Gram
matrix, the mean and the covariance are quotients of sums.  A loss that is a function of the sums
has the gradient ``g1 + (G2 + G2^T) F`` with respect to the features, which is all a tile needs
to know of the rest of the image.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from napari_nst.engine.resources.strips import strips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["WASSERSTEIN_RIDGE", "Statistics", "feature_gradient", "wide_dtype"]


# Added to the diagonal of a covariance for the Wasserstein loss (crowsonkb,
# style-transfer-pytorch): where there are fewer positions than channels it is singular.
WASSERSTEIN_RIDGE = 1e-4

# Added to a variance before its root is taken.
_VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True)
class Statistics:
    """Sums over positions of the features of one layer.

    Attributes
    ----------
    weight : Tensor
        The sum of the positions' weights w: their number M where none are given.  Shape ().
    first : Tensor
        The sum of w F.  Shape (N,).
    second : Tensor
        The sum of w F F^T.  Shape (N, N).

    Notes
    -----
    The sums are kept in float64 where the device has it: a loss is a small difference of large
    sums, and these matrices are small.
    """

    weight: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(
        cls, features: Tensor, weights: Tensor | None = None, *, exact: bool = False
    ) -> Statistics:
        """Sum the features of one layer.

        Parameters
        ----------
        features : Tensor
            Shape (..., N, H, W); leading dimensions must be 1.
        weights : Tensor, optional
            Shape (H, W), 0 or more: what each position counts.  The sums are sum w, sum w F and
            sum w F F^T, which are those of features guided by T = sqrt(w) (arXiv 1611.07865,
            equation 2).
        exact : bool
            Multiply in float64, too, where there are fewer positions than channels.  The covariance
            is singular then, and a Wasserstein distance sees the rounding of products in float32.
        """
        wide = wide_dtype(features.device)
        if exact and features.shape[-2] * features.shape[-1] < features.shape[-3]:
            features = features.to(wide)
        return cls(*_sums(features, weights))

    def __add__(self, other: Statistics) -> Statistics:
        """Return the sums over the positions of both."""
        return Statistics(
            self.weight + other.weight, self.first + other.first, self.second + other.second
        )

    def scaled(self, factor: float) -> Statistics:
        """Return the sums with every position's weight multiplied by a factor."""
        return Statistics(self.weight * factor, self.first * factor, self.second * factor)

    @property
    def mean(self) -> Tensor:
        """The mean of F, shape (N,)."""
        return self.first / self.weight

    @property
    def moment(self) -> Tensor:
        """The mean of F F^T, shape (N, N): the Gram matrix divided by its own M."""
        return self.second / self.weight

    @property
    def covariance(self) -> Tensor:
        """The covariance of F, shape (N, N)."""
        return self.moment - torch.outer(self.mean, self.mean)

    @cached_property
    def deviation(self) -> Tensor:
        """The standard deviation of F, shape (N,), never 0: a dead channel has no gradient."""
        return (self.covariance.diagonal() + _VARIANCE_FLOOR).clamp_min(_VARIANCE_FLOOR).sqrt()

    @cached_property
    def regular_covariance(self) -> Tensor:
        """The covariance plus a small multiple of the identity, which makes it invertible."""
        covariance = self.covariance
        covariance.diagonal().add_(WASSERSTEIN_RIDGE)
        return covariance

    @cached_property
    def covariance_root(self) -> Tensor:
        """The symmetric square root of the regularised covariance, shape (N, N)."""
        values, vectors = torch.linalg.eigh(self.regular_covariance)
        root: Tensor = vectors * values.clamp_min(WASSERSTEIN_RIDGE).sqrt() @ vectors.mT
        return root

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
        parts = [part.scaled(weight / (total * float(part.weight))) for part, weight in pairs]
        return reduce(operator.add, parts)


def feature_gradient(
    features: Tensor,
    first: Tensor | None,
    second: Tensor,
    weights: Tensor | None = None,
    *,
    onto: Tensor | None = None,
) -> Tensor:
    """Return a loss's gradient with respect to features from that with respect to their sums.

    Parameters
    ----------
    features : Tensor
        Shape (..., N, H, W).
    first : Tensor or None
        dL/d(sum w F), shape (N,); None where the loss does not depend on it.
    second : Tensor
        dL/d(sum w F F^T), shape (N, N).  Symmetric.
    weights : Tensor, optional
        Shape (H, W): the weights w of the positions, where the sums have them.
    onto : Tensor, optional
        Of the features' shape and dtype: what it is added to, in place, and returned.

    Returns
    -------
    Tensor
        ``w (first + 2 second F)``, in the shape and dtype of the features, channels last in
        memory as the network's features are.
    """
    double = (2 * second).to(features.dtype)
    first = None if first is None else first.to(features.dtype)
    matrix = _as_matrix(features)
    if onto is None:
        onto = features.new_zeros(matrix.shape[::-1]).mT.reshape(features.shape)
    if weights is not None:
        chosen, weights, places = _where_weighted(matrix, weights)
        gradient = matrix.new_zeros(matrix.shape[::-1])
        gradient[places] = _linear(chosen, first, double) * weights.to(matrix.dtype)[:, None]
    elif _is_for_onednn(matrix):
        kernel = double[..., None, None]
        here = functional.conv2d(_as_features(matrix), kernel, first)
        return onto.add_(here.reshape(onto.shape))
    elif _as_matrix(onto).data_ptr() == onto.data_ptr():  # a view: nothing lies between its rows
        _as_matrix(onto).mT.addmm_(matrix.mT, double)
        return onto if first is None else onto.add_(first[:, None, None])
    else:
        gradient = _linear(matrix, first, double)
    return onto.add_(gradient.mT.reshape(onto.shape))


def _linear(matrix: Tensor, first: Tensor | None, double: Tensor) -> Tensor:
    """Return (first + 2 second F)^T, of shape (M, N)."""
    gradient = matrix.mT @ double
    return gradient if first is None else gradient.add_(first)


def _sums(features: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of w, w F and w F F^T, added up in float64 from strips in float32."""
    wide = wide_dtype(features.device)
    channels = features.shape[-3]
    count = 0 if weights is not None else features.shape[-2] * features.shape[-1]
    weight = torch.tensor(float(count), dtype=wide, device=features.device)
    first = torch.zeros(channels, dtype=wide, device=features.device)
    second = torch.zeros((channels, channels), dtype=wide, device=features.device)
    dtype = torch.promote_types(features.dtype, torch.float32)
    for rows in strips(features):
        strip = weighted = _as_matrix(features[..., rows, :].to(dtype))
        if weights is not None:
            strip, own, _ = _where_weighted(strip, weights[rows].to(dtype))
            weight += own.to(wide).sum()
            weighted = strip * own
        first += weighted.sum(dim=1)
        second += _products(weighted, strip)
    return weight, first, second


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return F G^T of matrices (N, M)."""
    if _is_for_onednn(one):
        channels = one.shape[0]
        kernel = (channels, channels, 1, 1)
        found: Tensor = conv2d_weight(_as_features(other), kernel, _as_features(one))  # type: ignore[no-untyped-call]
        return found.view(kernel[:2])
    return one @ other.mT


def _is_for_onednn(matrix: Tensor) -> bool:
    """Return whether products of matrices are better called convolutions.

    With a kernel of 1 x 1 a convolution is F -> G F, and its gradient with respect to the kernel
    is a sum of products.  In float32 oneDNN does them in half the time of torch's BLAS on a
    processor with AVX-512 that is none of Intel's, and rounds alike.  It works on blocks of 16
    channels, and asks for at least one position.
    """
    on_cpu = matrix.device.type == "cpu" and matrix.dtype == torch.float32
    return on_cpu and matrix.shape[0] % 16 == 0 and matrix.numel() > 0


def _where_weighted(matrix: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions that count, their weights, and which they are.

    Regions lie side by side: what each leaves out, all of them together cost no more than one
    that is everywhere.
    """
    weights = weights.flatten()
    places = weights.nonzero().squeeze(1)
    return matrix[:, places], weights[places], places


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating type of a device (Apple's GPUs have no float64)."""
    return torch.float32 if device.type == "mps" else torch.float64


def _as_matrix(features: Tensor) -> Tensor:
    """View features (..., N, H, W) as a matrix (N, M); a view in either memory layout."""
    return features.reshape(features.shape[-3:]).flatten(1)


def _as_features(matrix: Tensor) -> Tensor:
    """View a matrix (N, M) as features (1, N, 1, M), channels last in memory as oneDNN has them."""
    rows = matrix.mT.contiguous()
    return rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)
