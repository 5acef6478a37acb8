"""The images and labels of a run, and its result in the form of the content."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from napari_nst.engine.images import color
from napari_nst.engine.images.arguments import UNCHANGED, as_list, style_names
from napari_nst.engine.images.assignment import (
    Assignment,
    Region,
    assign_styles,
    whole_image_region,
)
from napari_nst.engine.images.labels import Labels
from napari_nst.engine.images.palette import Palette
from napari_nst.engine.images.pictures import Picture, init_image_like, resize
from napari_nst.engine.images.regions import WHOLE, Guide, Regions, resized_mask
from napari_nst.engine.images.reliability import Reliability, TemporalTarget
from napari_nst.engine.images.visibility import fill_hidden
from napari_nst.engine.optim.sizes import style_size
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.images.color import ColorMode
    from napari_nst.engine.optim.schedule import Scale
    from napari_nst.record import RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Inputs"]


class Inputs:
    """Validated content, styles, initial image and labels of a run.

    Parameters
    ----------
    content, styles, init_image, init_reliability, names, content_labels, style_labels
        See `StyleTransfer`.
    settings : StyleTransferSettings
        Settings of the run.
    record : RunRecord, optional
        Record of a run to repeat: its interpretation of the values is used again.

    Attributes
    ----------
    content, init_image : Picture
        The content, and the initial image or None.
    init_reliability : Reliability or None
        Where the initial image also is the target of the temporal loss.
    styles : tuple of Picture
        The style images.
    content_labels : Labels or None
        Labels of the content.
    style_labels : tuple of Labels or None, or None
        Labels of each style.
    assignment : Assignment or None
        Style sources of the labels.

    Raises
    ------
    InputError
        If one of them is invalid or contradicts the settings.
    """

    _assigned: Any = None
    _palettes: tuple[Any, Palette] | None = None

    def __init__(
        self,
        content: Any,
        styles: Any,
        settings: StyleTransferSettings,
        *,
        init_image: Any = None,
        init_reliability: Any = None,
        names: Sequence[str] | None = None,
        content_labels: Any = None,
        style_labels: Any = None,
        record: RunRecord | None = None,
    ) -> None:
        images = _styles(styles)
        names = names or ["content", *style_names(len(images))]
        if len(names) != 1 + len(images):
            raise InputError(
                f"names has {len(names)} entries for a content and {len(images)} styles; give one "
                "for each."
            )
        known = None if record is None else record.content
        self.content = Picture.from_array(content, names[0], settings.nan, known)
        if (init_image is None) == (settings.init == "image"):
            found = "missing" if init_image is None else "given"
            raise InputError(
                f"init is {settings.init!r} and init_image is {found}; they go together: an "
                "initial image is for init='image'."
            )
        if init_image is not None and record is None:
            init_image = init_image_like(init_image, self.content.record)
        known = None if record is None else record.init_image
        self.init_image = (
            None
            if init_image is None
            else Picture.from_array(init_image, "init_image", recorded=known)
        )
        self.init_reliability: Reliability | None = None
        if init_reliability is not None:
            if self.init_image is None:
                raise InputError("init_reliability is given without init_image; give both.")
            self.init_reliability = Reliability.from_array(init_reliability, self.init_image.shape)
        for picture in filter(None, (self.content, self.init_image)):
            picture.check_visible()
        if record is not None and len(record.styles) == len(images):
            parts = zip(images, names[1:], record.styles, strict=True)
            images = [
                Picture.from_array(image, name, recorded=style) for image, name, style in parts
            ]
        self._take(settings, images, names[1:], content_labels, style_labels)

    @classmethod
    def from_pictures(
        cls,
        content: Picture,
        init_image: Picture | None,
        init_reliability: Reliability | None,
        styles: tuple[Picture, ...],
        content_labels: Labels | None,
        style_labels: tuple[Labels | None, ...] | None,
        settings: StyleTransferSettings,
    ) -> Inputs:
        """Return inputs made of validated images and labels."""
        inputs = cls.__new__(cls)
        inputs.content, inputs.styles = content, styles
        inputs.init_image, inputs.init_reliability = init_image, init_reliability
        inputs.content_labels, inputs.style_labels = content_labels, style_labels
        inputs.check(settings)
        return inputs

    def replaced(
        self,
        settings: StyleTransferSettings,
        styles: Any = UNCHANGED,
        names: Sequence[str] | None = None,
        content_labels: Any = UNCHANGED,
        style_labels: Any = UNCHANGED,
    ) -> Inputs:
        """Return a copy with other styles or labels.

        Raises
        ------
        InputError
            If one is invalid or contradicts the others or the settings.
        """
        other = copy.copy(self)
        images = UNCHANGED if styles is UNCHANGED else _styles(styles)
        if images is not UNCHANGED and names is None:
            same = len(images) == len(self.styles)
            names = [p.record.name for p in self.styles] if same else style_names(len(images))
        count = 0 if images is UNCHANGED else len(images)
        if names is not None and len(names) != count:
            raise InputError(
                f"names has {len(names)} entries for {count} new styles; give one for each."
            )
        other._take(settings, images, names or (), content_labels, style_labels)
        return other

    def _take(
        self,
        settings: StyleTransferSettings,
        images: Any,
        names: Sequence[str],
        content_labels: Any,
        style_labels: Any,
    ) -> None:
        if any(part is not UNCHANGED for part in (images, content_labels, style_labels)):
            self._palettes = None
        if images is not UNCHANGED:
            self.styles = tuple(
                image if isinstance(image, Picture) else Picture.from_array(image, name)
                for image, name in zip(images, names, strict=True)
            )
            for style in self.styles:
                style.check_visible()
        if content_labels is not UNCHANGED:
            self.content_labels = _labels(content_labels, "content_labels", self.content)
        if style_labels is not UNCHANGED:
            self.style_labels = None
            if style_labels is not None:
                painted = as_list(style_labels)
                if len(painted) != len(self.styles):
                    raise InputError(
                        f"style_labels has {len(painted)} entries, and the number of styles is "
                        f"{len(self.styles)}; give one for each, None for a style without labels."
                    )
                self.style_labels = tuple(
                    _labels(labels, f"style_labels of {picture.record.name}", picture)
                    for labels, picture in zip(painted, self.styles, strict=True)
                )
        self.check(settings)

    def check(self, settings: StyleTransferSettings) -> None:
        """Raise if settings contradict the inputs, and assign the labels."""
        count = len(self.styles)
        shares = settings.style_weights
        if shares is not None and len(shares) != count:
            raise InputError(
                f"style_weights has {len(shares)} shares for {count} styles; give one for each."
            )
        settings.scales_of_styles(count)
        if self.style_labels is not None:
            if len(self.style_labels) != count:
                raise InputError(
                    f"There are labels for {len(self.style_labels)} styles, and the number of "
                    f"styles is {count}; give new style_labels with new styles."
                )
            for labels, picture in zip(self.style_labels, self.styles, strict=True):
                if labels is not None and labels.values.shape != picture.shape:
                    raise InputError(
                        f"{labels.record.name} has shape {labels.values.shape}, and the style "
                        f"{picture.shape}; give new style_labels with new styles."
                    )
        # Assigning reads all labels, which is slow: only if an argument of it has changed.
        asked = (self.content_labels, self.style_labels, settings.region_styles, count)
        if asked != self._assigned:
            self.assignment = self._assign(settings)
            self._assigned = asked

    def _assign(self, settings: StyleTransferSettings) -> Assignment | None:
        if self.content_labels is not None:
            pairs = zip(self.style_labels or (), self.styles, strict=False)
            return assign_styles(
                _visible_labels(self.content_labels, self.content),
                [None if own is None else _visible_labels(own, style) for own, style in pairs],
                settings.region_styles,
                len(self.styles),
            )
        if any(own is not None for own in self.style_labels or ()):
            raise InputError(
                "There are style_labels and no content_labels: paint the same labels on the "
                "content."
            )
        if settings.region_styles is not None:
            raise InputError(
                "region_styles gives labels their styles, and there are no content_labels: give "
                "them, or leave it out."
            )
        return None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the content."""
        return self.content.shape

    @property
    def style_shapes(self) -> list[tuple[int, int]]:
        """Height and width of each style."""
        return [style.shape for style in self.styles]

    @property
    def guides(self) -> int:
        """Number of masks that weight the features: of regions, or 1 for visibility."""
        if self.assignment is not None:
            return len(self.assignment.regions)
        return int(any(picture.visible is not None for picture in (self.content, *self.styles)))

    @property
    def records(self) -> dict[str, Any]:
        """The fields of a `RunRecord` about the inputs."""
        labels = self.style_labels
        return {
            "content": self.content.record,
            "styles": tuple(style.record for style in self.styles),
            "init_image": self.init_image and self.init_image.record,
            "init_reliability": self.init_reliability and self.init_reliability.record,
            "content_labels": self.content_labels and self.content_labels.record,
            "style_labels": labels and tuple(own and own.record for own in labels),
        }

    def prepared(self, mode: ColorMode, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Return content and styles as the optimisation needs them for a colour mode."""
        pictures = (self.content, *self.styles)
        return color.prepare(
            self.content.filled.to(device),
            [style.filled.to(device) for style in self.styles],
            mode,
            [picture.visible for picture in pictures],
        )

    def at_scale(
        self, settings: StyleTransferSettings, scale: Scale, device: torch.device
    ) -> tuple[Tensor, list[Tensor]]:
        """Return content and styles as the optimisation needs them at a scale."""
        content, styles = self.prepared(settings.color, device)
        return self.content.resize(content, (scale.height, scale.width)), [
            picture.resize(style, style_size(settings, picture.shape, scale, index))
            for index, (picture, style) in enumerate(zip(self.styles, styles, strict=True))
        ]

    def regions(
        self, settings: StyleTransferSettings, scale: Scale, device: torch.device
    ) -> Regions | None:
        """Return the regions at a scale; None without labels and with all pixels visible."""
        assignment, labels = self.assignment, self.content_labels
        size = (scale.height, scale.width)
        visible = self.content.visible_at(size, device)
        guide = None if visible is None else Guide(visible, settings, visible=visible)
        regions: tuple[Region, ...] = (whole_image_region(len(self.styles)),)
        if assignment is not None and labels is not None:
            regions = assignment.regions
            masks = torch.stack([labels.mask(region.labels) for region in regions])
            masks = self.content.masks_at(masks, size, device)
            guide = Guide(masks, settings, settings.region_softness, visible)
        sources = {}
        for source in {source for region in regions for source in region.sources}:
            picture = self.styles[source.style]
            size = style_size(settings, picture.shape, scale, source.style)
            own = None if source.label is None else (self.style_labels or ())[source.style]
            seen = picture.visible_at(size, device)
            if own is not None and source.label is not None:
                mask = picture.masks_at(own.mask((source.label,))[None], size, device)
                sources[source] = Guide(mask, settings, visible=seen)
            elif seen is not None:
                sources[source] = Guide(seen, settings, visible=seen)
        if guide is None and not sources:
            return None
        return Regions(regions, guide, sources, visible)

    def kept(self, shape: tuple[int, int], share: float = WHOLE) -> Tensor | None:
        """Return a bool mask of the pixels that stay the content's; None if there are none.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the mask.
        share : float
            Smallest share of a pixel that must lie in kept labels.
        """
        if self.assignment is None or self.content_labels is None or not self.assignment.kept:
            return None
        mask = self.content_labels.mask(self.assignment.kept)[None]
        return resized_mask(mask, *shape)[0] >= share

    def first_image(
        self, settings: StyleTransferSettings, shape: tuple[int, int], device: torch.device
    ) -> Tensor:
        """Return the image that a run starts from, at a size."""
        content, styles = self.prepared(settings.color, device)
        if settings.init == "noise":
            generator = torch.Generator().manual_seed(settings.seed)
            return torch.rand((1, content.shape[1], *shape), generator=generator).to(device)
        if settings.init == "style":
            return self.styles[0].resize(styles[0], shape).clone()
        if self.init_image is not None:
            init_image = self.init_image.filled.to(device)
            init_image = (
                color.luminance(init_image)
                if content.shape[1] == 1
                else init_image.expand(-1, 3, -1, -1)
            )
            return self.init_image.resize(init_image, shape).clone()
        return self.content.resize(content, shape).clone()

    def temporal_target(
        self, settings: StyleTransferSettings, shape: tuple[int, int], device: torch.device
    ) -> TemporalTarget | None:
        """Return the target of the temporal loss at a size; None without `init_reliability`."""
        if self.init_reliability is None:
            return None
        reliability = resized_mask(self.init_reliability.values.to(device), *shape)
        if (visible := self.content.visible_at(shape, device)) is not None:
            reliability = reliability * visible
        return TemporalTarget(self.first_image(settings, shape, device), reliability)

    def recolored(self, image: Tensor, before: ColorMode, after: ColorMode) -> Tensor:
        """Return an optimised image in the channels of another colour mode."""
        if before == "luminance":
            return color.with_chroma(image, self._content_at(image))
        return color.luminance(image) if after == "luminance" else image

    def to_array(
        self, settings: StyleTransferSettings, image: Tensor, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return an optimised image as an array: resampled, coloured, with the content's alpha."""
        # Only one copy besides the array: large images take much memory.
        size = (image.shape[-2], image.shape[-1])
        visible = self.content.visible_at(size, image.device)
        picture = image.clamp(0, 1)
        if settings.color == "palette" and picture.shape[1] == 3:
            self._palette(settings).apply_(picture, visible)
        picture = resize(picture, *shape, visible)
        if settings.color == "luminance":
            picture = color.with_chroma(picture, self._content_at(picture))
        if (visible := self.content.visible_at(shape, picture.device)) is not None:
            picture = fill_hidden(picture, visible)
        if (kept := self.kept(shape, 0.5)) is not None:
            same = shape == self.shape  # then they are exactly the content's, visible or not
            content = self.content.pixels.to(picture.device) if same else self._content_at(picture)
            torch.where(kept.to(picture.device), content, picture, out=picture)
        return self.content.assemble(picture)

    def _palette(self, settings: StyleTransferSettings) -> Palette:
        """Return the chroma of the result, kept until labels, styles or their shares change."""
        key = (settings.style_weights, settings.region_styles, settings.region_softness)
        if self._palettes is None or self._palettes[0] != key:
            labels = self.content_labels, self.style_labels
            made = Palette.from_pictures(
                self.content, self.styles, *labels, self.assignment, settings
            )
            self._palettes = key, made
        return self._palettes[1]

    def _content_at(self, image: Tensor) -> Tensor:
        """Return the content at the size and on the device of an image."""
        pixels = self.content.filled.to(image.device)
        return self.content.resize(pixels, (image.shape[-2], image.shape[-1]))


def _styles(given: Any) -> list[Any]:
    images = as_list(given)
    if not images:
        raise InputError("There is no style image; give at least one.")
    return images


def _labels(labels: Any, name: str, picture: Picture) -> Labels | None:
    if labels is None or isinstance(labels, Labels):
        return labels
    return Labels.from_array(labels, name, picture.shape, picture.record.name)


def _visible_labels(labels: Labels, picture: Picture) -> NDArray[np.int64]:
    """Return the labels of the visible pixels of an image, flattened if some are invisible."""
    if picture.visible is None:
        return labels.values
    return labels.values[picture.visible[0].numpy() > 0]
