"""Arrays in files of NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import InputError
from napari_nst.files._common import detail
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
        The noun for its content in messages.

    Returns
    -------
    ndarray
        Of any shape and any type but objects.

    Raises
    ------
    InputError
        If the file is missing, cut short, of another kind, or holds objects or more than 4 GiB.
    """
    path = Path(path)
    try:
        # A map fails where the file is shorter than its header says, before any memory is used.
        mapped = np.lib.format.open_memmap(path, mode="r")
        check_bytes(path, mapped.nbytes, "array")
        return np.array(mapped)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: name a file that does.") from error
    except Exception as error:  # the header is Python, and a damaged one fails in any way
        raise InputError(
            f"{path} cannot be read as {what} ({detail(error)}): save it again with numpy.save."
        ) from error
