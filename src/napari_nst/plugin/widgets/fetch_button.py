"""Button to download the weights of VGG-19."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_nst.errors import WeightsError
from napari_nst.plugin.run import fetching
from napari_nst.plugin.widgets.buttons import push_button

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["FetchButton"]


class FetchButton:
    """Button that is visible while VGG-19 is chosen and its weights are missing.

    Parameters
    ----------
    parent : QWidget
        Parent of the dialogs.

    Attributes
    ----------
    native : QPushButton
        The button.
    info, warning : Signal
        Emitted with a message when the download ends.
    """

    info = Signal(str)
    warning = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        self._parent = parent
        self._fetch: fetching.Fetch | None = None
        self.native = push_button(
            "Fetch VGG-19 ...",
            "Download the weights of VGG-19, the paper's network.  A dialog asks first; you can "
            "cancel.",
            self._ask,
        )
        self.native.setVisible(False)

    def show_for(self, network: str) -> None:
        """Show the button if the network's weights are missing."""
        self.native.setVisible(network == "vgg19" and not self._fetch and _missing(network))

    def close(self) -> None:
        """Cancel the download, if there is one."""
        if self._fetch is not None:
            self._fetch.close()

    def _ask(self) -> None:
        if self._fetch is not None:
            return
        self._fetch = fetching.ask_and_fetch(self._parent)
        if self._fetch is not None:
            self._fetch.ended.connect(self._on_ended)
            self.native.setVisible(False)

    def _on_ended(self, problem: str) -> None:
        fetch, self._fetch = self._fetch, None
        if problem:
            self.warning.emit(problem)
        elif fetch is not None and fetch.file is not None:
            self.info.emit(fetching.INSTALLED)
        self.show_for("vgg19")


def _missing(network: str) -> bool:
    # The module imports torch: until that is loaded in the background, nothing is known.
    weights = sys.modules.get("napari_nst.engine.network.weights")
    if not hasattr(weights, "find"):
        return False
    try:
        weights.find(network)  # type: ignore[union-attr]
    except WeightsError:
        return True
    return False
