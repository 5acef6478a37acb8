"""Changes of settings, styles and labels during a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_nst.engine.images.arguments import UNCHANGED, as_list
from napari_nst.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_nst.settings import StyleTransferSettings

__all__ = ["STEERABLE", "SettingsUpdate"]

STEERABLE = (
    "color",
    "content_weight",
    "kept_structure",
    "region_guidance",
    "region_softness",
    "region_styles",
    "style_weight",
    "style_weights",
    "temporal_weight",
    "tv_weight",
)
"""Settings that can change during a run."""


@dataclass(frozen=True)
class SettingsUpdate:
    """A change during a run, applied before its next evaluation.

    An image or labels are an array, or a function that returns one: the thread that iterates the
    run calls it, so that large images are read there.

    Attributes
    ----------
    choices : mapping of str to object
        Settings of `STEERABLE` and their new values.
    styles : array_like, callable, or a sequence of them
        All style images; `UNCHANGED` by default, like the labels.
    names : sequence of str or None
        Names of the styles.
    content_labels : array_like, callable or None
        Labels of the content; None removes them.  For a stack: a sequence with those of each plane.
    style_labels : sequence of array_like, callable or None; or None
        Labels of each style; None removes them.

    Raises
    ------
    InputError
        If a setting cannot change during a run.
    """

    choices: Mapping[str, Any] = field(default_factory=dict)
    styles: Any = UNCHANGED
    names: Sequence[str] | None = None
    content_labels: Any = UNCHANGED
    style_labels: Any = UNCHANGED

    def __post_init__(self) -> None:
        """Check the names of the settings."""
        fixed = sorted(set(self.choices) - set(STEERABLE))
        if fixed:
            raise InputError(
                f"{fixed[0]} cannot be changed during a run; {', '.join(STEERABLE)} can."
            )

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.choices) or bool(self.images)

    @property
    def images(self) -> dict[str, Any]:
        """The images and labels that change, as `Inputs.replaced` takes them."""
        parts = {
            "styles": self.styles,
            "content_labels": self.content_labels,
            "style_labels": self.style_labels,
        }
        changed = {name: part for name, part in parts.items() if part is not UNCHANGED}
        return changed if self.names is None else {**changed, "names": self.names}

    @property
    def is_loaded(self) -> bool:
        """Whether all images are arrays."""
        styles, labels = (_as_list(part) for part in (self.styles, self.style_labels))
        return not any(map(callable, (*styles, self.content_labels, *labels)))

    def settings(self, before: StyleTransferSettings) -> StyleTransferSettings:
        """Return settings with the choices."""
        return before.replace(**self.choices)

    def loaded(self) -> SettingsUpdate:
        """Return the update with arrays instead of functions."""
        if self.is_loaded:
            return self
        changed: dict[str, Any] = {"content_labels": _load(self.content_labels)}
        for name in ("styles", "style_labels"):
            part = getattr(self, name)
            if part is not UNCHANGED and part is not None:
                changed[name] = [_load(one) for one in as_list(part)]
        return replace(self, **changed)


def _as_list(part: Any) -> list[Any]:
    return [] if part is UNCHANGED or part is None else as_list(part)


def _load(given: Any) -> Any:
    return given() if callable(given) else given
