"""The pictures that go into a run, and how its result becomes a picture like them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import torch

from napari_nst.engine import color, costs
from napari_nst.engine.assignment import Assignment, assign
from napari_nst.engine.labels import Labels
from napari_nst.engine.pictures import Picture, resize, start_like
from napari_nst.engine.regions import Guide, Regions, resized_mask
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.color import ColorMode
    from napari_nst.engine.schedule import Scale
    from napari_nst.record import RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["SAME", "Inputs"]

SAME: Final[Any] = object()
"""Says that an input stays what it is: None says that there is to be none."""

# A pixel is frozen where only rounding lets anything but the content into it.
_WHOLE = 1 - 1e-4


class Inputs:
    """Content, styles, start and labels of a run, checked.

    Parameters
    ----------
    content, styles, start, names, content_labels, style_labels
        As `StyleTransfer` takes them.
    settings : StyleTransferSettings
        What they are to be used for.
    record : RunRecord, optional
        Of a run to do again: values mean what they meant to that one.

    Attributes
    ----------
    content, start : Picture
        The pictures; start can be None.
    styles : tuple of Picture
        The style images.
    content_labels : Labels or None
        Of the content.
    style_labels : tuple of Labels or None, or None
        Of each style.
    assignment : Assignment or None
        What the labels come to.

    Raises
    ------
    InputError
        If one of them cannot be used, or does not go with the settings.
    """

    _assigned: Any = None

    def __init__(
        self,
        content: Any,
        styles: Any,
        start: Any,
        names: Sequence[str] | None,
        settings: StyleTransferSettings,
        content_labels: Any = None,
        style_labels: Any = None,
        record: RunRecord | None = None,
    ) -> None:
        images = _listed(styles)
        names = names or ["content", *_style_names(len(images))]
        if len(names) != 1 + len(images):
            raise InputError(
                f"names has {len(names)} entries for a content and {len(images)} styles; give one "
                "for each."
            )
        self.content = Picture.of(
            content, names[0], settings.nan, None if record is None else record.content
        )
        if (start is None) == (settings.init == "image"):
            raise InputError(
                f"init is {settings.init!r} and start is {'missing' if start is None else 'given'};"
                " they go together: a start image is for init='image'."
            )
        if start is not None and record is None:
            start = start_like(start, self.content.record)
        known = None if record is None else record.start
        self.start = None if start is None else Picture.of(start, "start", recorded=known)
        if record is not None and len(record.styles) == len(images):
            parts = zip(images, names[1:], record.styles, strict=True)
            images = [Picture.of(image, name, recorded=style) for image, name, style in parts]
        self._take(settings, images, names[1:], content_labels, style_labels)

    @classmethod
    def restored(
        cls,
        content: Picture,
        start: Picture | None,
        styles: tuple[Picture, ...],
        content_labels: Labels | None,
        style_labels: tuple[Labels | None, ...] | None,
        settings: StyleTransferSettings,
    ) -> Inputs:
        """Return inputs of what was taken in before."""
        inputs = cls.__new__(cls)
        inputs.content, inputs.start, inputs.styles = content, start, styles
        inputs.content_labels, inputs.style_labels = content_labels, style_labels
        inputs.check(settings)
        return inputs

    def replaced(
        self,
        settings: StyleTransferSettings,
        styles: Any = SAME,
        names: Sequence[str] | None = None,
        content_labels: Any = SAME,
        style_labels: Any = SAME,
    ) -> Inputs:
        """Return inputs with other styles or labels, or this one where nothing changes.

        Raises
        ------
        InputError
            If one cannot be used, or they do not go together or with the settings.
        """
        other = copy.copy(self)
        images = SAME if styles is SAME else _listed(styles)
        if images is not SAME and names is None:
            same = len(images) == len(self.styles)
            names = [p.record.name for p in self.styles] if same else _style_names(len(images))
        if names is not None and len(names) != (0 if images is SAME else len(images)):
            raise InputError(
                f"names has {len(names)} entries for {0 if images is SAME else len(images)} new "
                "styles; give one for each."
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
        if images is not SAME:
            self.styles = tuple(
                image if isinstance(image, Picture) else Picture.of(image, name)
                for image, name in zip(images, names, strict=True)
            )
        if content_labels is not SAME:
            self.content_labels = _labels(content_labels, "content_labels", self.content)
        if style_labels is not SAME:
            self.style_labels = None
            if style_labels is not None:
                several = isinstance(style_labels, (list, tuple))
                listed = list(style_labels) if several else [style_labels]
                if len(listed) != len(self.styles):
                    raise InputError(
                        f"style_labels has {len(listed)} entries, and the number of styles is "
                        f"{len(self.styles)}; give one for each, None for a style without labels."
                    )
                self.style_labels = tuple(
                    _labels(labels, f"style_labels of {picture.record.name}", picture)
                    for labels, picture in zip(listed, self.styles, strict=True)
                )
        self.check(settings)

    def check(self, settings: StyleTransferSettings) -> None:
        """Refuse settings that do not go with the inputs, and assign the labels."""
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
        # Labels are looked through anew only where something of this is: that takes its time.
        asked = (self.content_labels, self.style_labels, settings.region_styles, count)
        if asked != self._assigned:
            self.assignment = self._assign(settings)
            self._assigned = asked

    def _assign(self, settings: StyleTransferSettings) -> Assignment | None:
        if self.content_labels is not None:
            painted = [None if own is None else own.values for own in self.style_labels or ()]
            return assign(
                self.content_labels.values,
                painted or None,
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
    def records(self) -> dict[str, Any]:
        """What a `RunRecord` says of them."""
        labels = self.style_labels
        return {
            "content": self.content.record,
            "styles": tuple(style.record for style in self.styles),
            "start": self.start and self.start.record,
            "content_labels": self.content_labels and self.content_labels.record,
            "style_labels": labels and tuple(own and own.record for own in labels),
        }

    def prepared(self, mode: ColorMode, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Return content and styles as the optimisation sees them in a colour mode."""
        return color.prepare(
            self.content.pixels.to(device), [style.pixels.to(device) for style in self.styles], mode
        )

    def regions(
        self, settings: StyleTransferSettings, scale: Scale, device: torch.device
    ) -> Regions | None:
        """Return the regions at a scale; None where no labels were given."""
        assignment, labels = self.assignment, self.content_labels
        if assignment is None or labels is None:
            return None
        masks = torch.stack([labels.mask(region.labels) for region in assignment.regions])
        masks = resized_mask(masks.to(device), scale.height, scale.width)
        sources = {}
        for source in {source for region in assignment.regions for source in region.sources}:
            own = None if source.label is None else (self.style_labels or ())[source.style]
            if own is not None and source.label is not None:
                shape = self.styles[source.style].shape
                size = costs.fit_style(settings, shape, scale, source.style)
                mask = resized_mask(own.mask((source.label,))[None].to(device), *size)
                sources[source] = Guide(mask, settings)
        guide = Guide(masks, settings, settings.region_softness)
        return Regions(assignment.regions, guide, sources)

    def kept(self, shape: tuple[int, int], share: float = _WHOLE) -> Tensor | None:
        """Return where the content's own pixels stay, at a size; None: nowhere.

        Parameters
        ----------
        shape : tuple of int
            Height and width.
        share : float
            What of a pixel has to be kept.

        Returns
        -------
        Tensor or None
            Bool, of the shape.
        """
        if self.assignment is None or self.content_labels is None or not self.assignment.kept:
            return None
        mask = self.content_labels.mask(self.assignment.kept)[None]
        return resized_mask(mask, *shape)[0] >= share

    def first_image(
        self, settings: StyleTransferSettings, shape: tuple[int, int], device: torch.device
    ) -> Tensor:
        """Return what a run starts from, at a size."""
        content, styles = self.prepared(settings.color, device)
        if settings.init == "noise":
            generator = torch.Generator().manual_seed(settings.seed)
            return torch.rand((1, content.shape[1], *shape), generator=generator).to(device)
        if settings.init == "style":
            return resize(styles[0], *shape).clone()
        if self.start is not None:
            start = self.start.pixels.to(device)
            grey = content.shape[1] == 1
            start = color.luminance(start) if grey else start.expand(-1, 3, -1, -1)
            return resize(start, *shape).clone()
        return resize(content, *shape).clone()

    def recolored(self, image: Tensor, before: ColorMode, after: ColorMode) -> Tensor:
        """Return an image under way in the channels of another colour mode."""
        if before == "luminance":
            return color.finish(image, self._content_at(image), before)
        return color.luminance(image) if after == "luminance" else image

    def deliver(
        self, mode: ColorMode, image: Tensor, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return an image under way as an array: resampled, coloured, alpha put back."""
        # One copy, changed in place, and the array: at large sizes every image counts.
        picture = resize(image.clamp(0, 1), *shape)
        if mode == "luminance":
            picture = color.finish(picture, self._content_at(picture), mode)
        if (kept := self.kept(shape, 0.5)) is not None:
            content = self._content_at(picture)
            torch.where(kept.to(picture.device), content, picture, out=picture)
        return self.content.assemble(picture)

    def _content_at(self, image: Tensor) -> Tensor:
        """Return the content at the size and on the device of an image."""
        return resize(self.content.pixels.to(image.device), image.shape[-2], image.shape[-1])


def _listed(styles: Any) -> list[Any]:
    images = list(styles) if isinstance(styles, (list, tuple)) else [styles]
    if not images:
        raise InputError("There is no style image; give at least one.")
    return images


def _labels(labels: Any, name: str, picture: Picture) -> Labels | None:
    if labels is None or isinstance(labels, Labels):
        return labels
    return Labels.of(labels, name, picture.shape, picture.record.name)


def _style_names(count: int) -> list[str]:
    return ["style"] if count == 1 else [f"style {index}" for index in range(1, count + 1)]
