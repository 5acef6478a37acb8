"""The pictures that go into a run, and how its result becomes a picture like them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_nst.engine import color
from napari_nst.engine.pictures import Picture, resize
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_nst.engine.color import ColorMode
    from napari_nst.record import InputRecord, RunRecord
    from napari_nst.settings import StyleTransferSettings

__all__ = ["Inputs"]


class Inputs:
    """Content, styles and start of a run, checked.

    Parameters
    ----------
    content, styles, start, names
        As `StyleTransfer` takes them.
    settings : StyleTransferSettings
        What they are to be used for.

    Raises
    ------
    InputError
        If one of them cannot be used, or does not go with the settings.
    """

    def __init__(
        self,
        content: Any,
        styles: Any,
        start: Any,
        names: Sequence[str] | None,
        settings: StyleTransferSettings,
    ) -> None:
        images = list(styles) if isinstance(styles, (list, tuple)) else [styles]
        if not images:
            raise InputError("There is no style image; give at least one.")
        names = names or ["content", *_style_names(len(images))]
        if len(names) != 1 + len(images):
            raise InputError(
                f"names has {len(names)} entries for a content and {len(images)} styles; give one "
                "for each."
            )
        self._content = Picture.of(content, names[0], settings.nan)
        self._styles = [
            Picture.of(image, name) for image, name in zip(images, names[1:], strict=True)
        ]
        if (start is None) == (settings.init == "image"):
            raise InputError(
                f"init is {settings.init!r} and start is {'missing' if start is None else 'given'};"
                " they go together: a start image is for init='image'."
            )
        self._start = None if start is None else Picture.of(start, "start")
        self.check_blend(settings)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the content."""
        return self._content.shape

    @property
    def style_shapes(self) -> list[tuple[int, int]]:
        """Height and width of each style."""
        return [style.shape for style in self._styles]

    @property
    def records(self) -> dict[str, Any]:
        """What a `RunRecord` says of them: "content", "styles" and "start"."""
        return {
            "content": self._content.record,
            "styles": tuple(style.record for style in self._styles),
            "start": self._start and self._start.record,
        }

    def check_blend(self, settings: StyleTransferSettings) -> None:
        """Refuse shares that are not one for each style."""
        shares = settings.style_weights
        if shares is not None and len(shares) != len(self._styles):
            raise InputError(
                f"style_weights has {len(shares)} shares for {len(self._styles)} styles; give one "
                "for each."
            )

    def check_replay(self, record: RunRecord) -> None:
        """Refuse pictures that are not those of a record."""
        given = self.records
        pairs: list[tuple[InputRecord | None, InputRecord | None]] = [
            (record.content, given["content"]),
            (record.start, given["start"]),
            *zip(record.styles, given["styles"], strict=False),
        ]
        if len(record.styles) != len(given["styles"]):
            raise InputError(
                f"The record is of {len(record.styles)} styles, and {len(given['styles'])} are "
                "given."
            )
        for old, new in pairs:
            if old is not None and new is not None and old.sha256 != new.sha256:
                raise InputError(
                    f"{new.name} is not the image of the record: its sha256 begins with "
                    f"{new.sha256[:8]}, and that of {old.name} with {old.sha256[:8]}."
                )

    def prepared(self, mode: ColorMode, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Return content and styles as the optimisation sees them in a colour mode."""
        return color.prepare(
            self._content.pixels.to(device),
            [style.pixels.to(device) for style in self._styles],
            mode,
        )

    def first_image(
        self, settings: StyleTransferSettings, shape: tuple[int, int], device: torch.device
    ) -> Tensor:
        """Return what a run starts from, at a size."""
        content, styles = self.prepared(settings.color, device)
        if settings.init == "noise":
            generator = torch.Generator().manual_seed(settings.seed)
            return torch.rand((1, content.shape[1], *shape), generator=generator).to(device)
        if settings.init == "style":
            return resize(styles[0], *shape)
        if self._start is not None:
            start = self._start.pixels.to(device)
            grey = content.shape[1] == 1
            return resize(color.luminance(start) if grey else start.expand(-1, 3, -1, -1), *shape)
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
        image = resize(image.clamp(0, 1), *shape)
        return self._content.assemble(color.finish(image, self._content_at(image), mode))

    def _content_at(self, image: Tensor) -> Tensor:
        """Return the content at the size and on the device of an image."""
        return resize(self._content.pixels.to(image.device), image.shape[-2], image.shape[-1])


def _style_names(count: int) -> list[str]:
    return ["style"] if count == 1 else [f"style {index}" for index in range(1, count + 1)]
