"""Compare a result with its content by toggling visibility.  No Qt here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_nst.errors import InputError
from napari_nst.plugin.provenance.finding import RunInputs, require_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Image
    from napari.viewer import Viewer

__all__ = ["COMPARE_KEY", "Comparison"]

COMPARE_KEY = "H"


class Comparison:
    """Shows the content in the place of a result.

    The user holds H while the canvas has the keyboard focus; napari does not use that key.

    Parameters
    ----------
    viewer : Viewer
        The viewer.
    result : callable
        Returns the result layer, or None.

    Attributes
    ----------
    warning : Signal
        Emitted with a message if the content cannot be shown.
    """

    warning = Signal(str)

    def __init__(self, viewer: Viewer, result: Callable[[], Image | None]) -> None:
        self._viewer, self._result = viewer, result
        self._before: dict[Any, bool] = {}
        try:
            viewer.bind_key(COMPARE_KEY, self._while_held)
            self._bound = True
        except ValueError:  # already bound by the user or another panel
            self._bound = False

    @property
    def flipped(self) -> bool:
        """Whether the content is shown."""
        return bool(self._before)

    def flip(self, content: bool) -> None:
        """Show the content instead of the result, or the result again.

        Nothing changes if no layer has the pixels of the content.
        """
        for layer, visible in self._before.items():
            layer.visible = visible
        self._before = {}
        result = self._result()
        if not content or result is None:
            return
        try:
            inputs = RunInputs.from_layer(result)
            found = require_layer(inputs.content, self._viewer.layers, result)
        except InputError as error:
            self.warning.emit(str(error))
            return
        shown = {result: False, found: True}
        self._before = {layer: layer.visible for layer in shown}
        for layer, visible in shown.items():
            layer.visible = visible

    def close(self) -> None:
        """Show the result again, and unbind the key."""
        self.flip(False)
        if self._bound:
            self._viewer.bind_key(COMPARE_KEY, None)

    def _while_held(self, _: Viewer) -> Iterator[None]:
        self.flip(True)
        yield
        self.flip(False)
