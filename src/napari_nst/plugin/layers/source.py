"""Identity of a layer's data: the file, the sample or the layer that they came from.  No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["LayerSource", "level_of"]

_PLUGIN = "napari-nst"


@dataclass(frozen=True)
class LayerSource:
    """Source of a layer's data; see the attributes of `Origin`."""

    layer_id: str
    path: str | None
    sample: str | None
    level: int | None
    shape: tuple[int, ...]

    @classmethod
    def from_layer(cls, layer: Layer, level: int = 0) -> LayerSource:
        """Return the source of a layer's data; `level` counts for multiscale layers only."""
        source = layer.source
        number = level if getattr(layer, "multiscale", False) else None
        return cls(
            layer_id=str(layer.unique_id),
            path=None if source.path is None else str(source.path),
            sample=source.sample[1] if source.sample and source.sample[0] == _PLUGIN else None,
            level=number,
            shape=tuple(map(int, level_of(layer, number).shape)),
        )


def level_of(layer: Layer, level: int | None) -> Any:
    """Return the data of a level of a multiscale layer; None: the data of any other layer."""
    return layer.data if level is None else layer.data[level]
