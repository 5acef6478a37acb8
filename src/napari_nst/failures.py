"""One failure among many jobs: a sentence for the user, and a traceback for the log."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING

from napari_nst.errors import StyleTransferError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["in_a_sentence", "keep_traceback", "traceback_of"]

_LONGEST = 200  # characters of an error that was not written for users


def in_a_sentence(error: Exception, what: object) -> str:
    """Return a sentence about a failure; that of an unexpected error has no full stop yet.

    Parameters
    ----------
    error : Exception
        Anything.
    what : object
        What messages call the file or picture.
    """
    if isinstance(error, StyleTransferError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or what} failed ({error.strerror or error})."
    if isinstance(error, MemoryError):
        return f"There is not enough memory for {what}."
    text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"{what} failed unexpectedly ({text})"


def traceback_of(error: Exception) -> str | None:
    """Return the traceback of an error that no message is written for; None for the others."""
    if isinstance(error, (StyleTransferError, OSError, MemoryError)):
        return None
    return "".join(traceback.format_exception(error))


def keep_traceback(sentence: str, text: str, log: Path) -> str:
    """Append a traceback to a log file, hand it to `logging`, and say where it is.

    Parameters
    ----------
    sentence : str
        What `in_a_sentence` returned.
    text : str
        What `traceback_of` returned.
    log : Path
        The file.

    Returns
    -------
    str
        The whole sentence.
    """
    _logger.error("%s\n%s", sentence, text)
    try:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n{text}\n")
    except OSError as error:
        return f"{sentence}; {log} cannot be written ({error.strerror})."
    return f"{sentence}; the traceback is in {log}."


_logger = logging.getLogger("napari_nst.batch")
_logger.addHandler(logging.NullHandler())  # or it would be printed where nobody listens
