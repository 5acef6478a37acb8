"""Read .npy files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.files._common import decoding
from napari_nst.files._limits import check_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_npy"]


def read_npy(path: Path | str, what: str = "an array") -> NDArray[Any]:
    """Read the array in a .npy file.

    Parameters
    ----------
    path : Path or str
        The file.
    what : str
        Name of the content for messages.

    Returns
    -------
    ndarray
        Any shape, and any type except objects.

    Raises
    ------
    InputError
        If the file is missing, cut short, of another kind, or holds objects or more than 4 GiB.
    """
    path = Path(path)
    with decoding(
        path,
        f"cannot be read as {what}",
        "save it again with numpy.save",
        if_missing="name a file that does",
    ):
        # open_memmap fails before allocating memory if the file is shorter than its header says.
        mapped = np.lib.format.open_memmap(path, mode="r")
        check_bytes(path, mapped.nbytes, "array")
        return np.array(mapped)
