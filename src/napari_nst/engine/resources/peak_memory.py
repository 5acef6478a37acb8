"""Estimate the peak memory of a run, and what fits into a budget, without importing torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_nst.engine.optim.schedule import LBFGS_HISTORY, MIN_LBFGS_HISTORY
from napari_nst.engine.optim.sizes import style_size
from napari_nst.engine.resources import activations
from napari_nst.engine.resources.tiles import SMALLEST_TILE, STYLE_TILE, TileGrid
from napari_nst.networks import NETWORKS, method_for_size

if TYPE_CHECKING:
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.settings import StyleTransferSettings

__all__ = ["IMAGE_BYTES", "USABLE_SHARE", "Workload"]

USABLE_SHARE = 0.8
"""Share of the free memory that a run plans to use; the rest covers the error of the estimate and
other programs."""

_FLOAT32 = 4  # bytes

IMAGE_BYTES = 3 * _FLOAT32
"""Bytes per pixel of an RGB image."""

# Images of the working size that a run holds during an evaluation: content, image, gradient and
# Adam's two moments and EMA; or, for L-BFGS, the image, the gradient and the direction of the last
# accepted step.
_IMAGES_HELD = 6

# Images of the result's size between two evaluations: the result and its copy as an array.  The
# gradient has been freed by then.
_RESULT_IMAGES = 2

# Images of a tile's size during its evaluation: the tile and its gradient, the network's input
# before and after its border is replicated, the four differences of the total variation and their
# gradients.
_TILE_IMAGES = 10

# Index and weight of a position that a region selects; regions lie side by side.
_POSITION_BYTES = 8 + 4

# Masks of each region while they are prepared: as painted, blurred along one axis and along both,
# and the padded copies of the two.
_MASKS_PER_REGION = 5

# Tiles of this side take about three times as long as the whole image.  The history of L-BFGS
# shrinks before tiles become smaller than this.
_TILE_BESIDE_HISTORY = 256

# What torch allocates for itself at its first convolutions, and the weights as stored.
_TORCH_BYTES = 144 * 2**20

# Size of the kernels of Winograd's convolution relative to those of the direct one.
_KERNEL_GROWTH = 36 / 9

# NNPACK's transformed kernels and tiles, for which torch keeps the room, and a strip before and
# after it.
_NNPACK_BYTES = 176 * 2**20

# Fragmentation of the heap, per byte of an activation: the features of deep layers leave unused
# holes there.  Measured as the growth of the process beyond the other terms.
_FRAGMENTATION = 24 * 2**20


@dataclass(frozen=True)
class Workload:
    """Everything that determines the peak memory of a run, except tile and history sizes.

    Attributes
    ----------
    settings : StyleTransferSettings
        All settings of the run.
    scale : Scale
        The size of the content.
    styles : tuple of tuple of int
        Height and width of each style image as given.
    item_size : int
        Bytes of one activation.
    regions : int
        Number of regions; every style is assumed to have labels of each.
    output_size : tuple of int, optional
        Height and width of the result; None: the size of `scale`.
    fast_convolutions : bool
        Whether other than direct convolutions may be chosen: in float32 on a processor.
    temporal : bool
        Whether there is a temporal loss.
    """

    settings: StyleTransferSettings
    scale: Scale
    styles: tuple[tuple[int, int], ...] = ()
    item_size: int = _FLOAT32
    regions: int = 0
    output_size: tuple[int, int] | None = None
    fast_convolutions: bool = False
    temporal: bool = False

    @property
    def requested_tile(self) -> int | None:
        """The tile size named in the settings, in pixels; None if they name none."""
        return self.settings.tile if isinstance(self.settings.tile, int) else None

    def bytes_needed(self, tile: int | None = None, history: int = LBFGS_HISTORY) -> int:
        """Return the estimated peak memory in bytes.

        Parameters
        ----------
        tile : int or None
            Side of the tiles in pixels; None: the whole image at once.
        history : int
            History size of L-BFGS; Adam ignores it.

        Notes
        -----
        `activations.evaluation_bytes` estimates the features.  Styles only have a forward pass, in
        tiles; still, a large style can need more than an evaluation.

        Tiles do not reduce the images (with Adam six that a run holds and the style, 7 times the
        image's float32 size) and the content's features.  L-BFGS holds two images per pair of
        its history, and each region its weights at the positions of every style layer and the
        indices of the positions it selects.

        Measured as the growth of the process on Linux, with the default layers, in float32 and in
        bfloat16: 0.83 and 0.74 of the estimate at 256 pixels squared, 0.91 and 0.94 at 512, 0.93
        and 0.92 at 1024, 1.13 and 1.00 in tiles of 512 there and 1.04 and 1.00 at 2048.  With
        ample memory the process grows by up to a fifth more, for speed (see
        `napari_nst.engine.resources.allocator`).
        """
        settings, item_size = self.settings, self.item_size
        network = NETWORKS[settings.network]
        layers = network.layers_up_to(settings.layers_in_use)
        tiling = TileGrid(settings.network, settings.layers_in_use)
        height, width = self.scale.height, self.scale.width
        pixels = height * width
        styles = [style_size(settings, s, self.scale, k) for k, s in enumerate(self.styles)]
        style_pixels = sum(math.prod(size) for size in styles)
        tile_pixels = tiling.max_tile_pixels(height, width, tile)
        style_tile = min(STYLE_TILE, tile or STYLE_TILE)
        style_tile_pixels = max((tiling.max_tile_pixels(*s, style_tile) for s in styles), default=0)

        # These follow one another: only the largest counts.
        steps = network.steps(settings.layers_in_use, settings.pooling)
        features = activations.evaluation_bytes(steps, item_size, bool(self.regions))
        evaluation = (features + IMAGE_BYTES * _TILE_IMAGES) * tile_pixels
        style_forward = activations.forward_bytes(steps, item_size) * style_tile_pixels
        output_pixels = max(pixels, math.prod(self.output_size or (0, 0)))
        result = IMAGE_BYTES * (_RESULT_IMAGES * output_pixels - pixels)
        masks = _FLOAT32 * _MASKS_PER_REGION * self.regions * pixels
        transient = max(evaluation, style_forward, result, masks)

        content = sum(
            activations.content_target_bytes(
                activations.values_per_pixel(layer) * pixels, item_size, whole=tile_pixels == pixels
            )
            for layer in layers
            if layer.name in settings.content_layers.active
        )
        guided = sum(1 / x.stride**2 for x in layers if x.name in settings.style_layers.active)
        guides = _FLOAT32 * self.regions * guided * (pixels + style_pixels)
        if self.regions:
            guides += _POSITION_BYTES * guided * pixels
        images = _IMAGES_HELD + (2 * history if settings.optimizer == "lbfgs" else 0)
        pictures = IMAGE_BYTES * (images * pixels + style_pixels)
        if self.temporal:
            pictures += (IMAGE_BYTES + _FLOAT32) * pixels  # the target and its reliability
        kernels = sum(9 * x.in_channels * x.out_channels for x in layers if x.kind == "conv")
        fixed = _TORCH_BYTES + _FRAGMENTATION * item_size + item_size * kernels
        if self.fast_convolutions:
            methods = set()
            for layer in (layer for layer in layers if layer.kind == "conv"):
                channels = layer.in_channels, layer.out_channels
                positions = int(tile_pixels / layer.stride**2)
                method = method_for_size("nnpack", min(channels), positions)
                methods.add(method)
                if method != "direct":
                    fixed += int(_KERNEL_GROWTH * item_size * 9 * math.prod(channels))
            fixed += _NNPACK_BYTES * ("nnpack" in methods)
        return int(fixed + pictures + guides + content + transient)

    def max_history(self, budget: float) -> int:
        """Return the largest history size of L-BFGS within a budget in bytes.

        It lies between `MIN_LBFGS_HISTORY` and `LBFGS_HISTORY`, and leaves room for the requested
        tiles; with ``tile="auto"``, for tiles of 256 pixels.
        """
        tile = _TILE_BESIDE_HISTORY if self.settings.tile == "auto" else self.requested_tile
        for history in range(LBFGS_HISTORY, MIN_LBFGS_HISTORY, -1):
            if self.bytes_needed(tile, history) <= budget:
                return history
        return MIN_LBFGS_HISTORY

    def max_tile(self, budget: float, history: int = LBFGS_HISTORY) -> int | None:
        """Return the largest tile size within a budget in bytes.

        Parameters
        ----------
        budget : float
            Bytes that the run may take.
        history : int
            History size of L-BFGS.

        Returns
        -------
        int or None
            None if the whole image fits; the smallest tile size if nothing fits.
        """
        if self.bytes_needed(None, history) <= budget:
            return None
        stride = TileGrid(self.settings.network, self.settings.layers_in_use).stride
        # Tiles of an image are evenly large: only sizes that change their number are candidates.
        candidates = {
            math.ceil(length / count / stride) * stride
            for length in (self.scale.height, self.scale.width)
            for count in range(1, math.ceil(length / SMALLEST_TILE) + 1)
        }
        longest = max(self.scale.height, self.scale.width)
        for side in sorted(candidates, reverse=True):
            if SMALLEST_TILE < side < longest and self.bytes_needed(side, history) <= budget:
                return side
        return SMALLEST_TILE
