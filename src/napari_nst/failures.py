"""Report a failed job: a sentence for the user, a traceback for the log."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING

from napari_nst.errors import StyleTransferError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["error_sentence", "log_traceback", "unexpected_traceback"]

_MAX_LENGTH = 200  # characters of an unexpected error in a sentence


def error_sentence(error: Exception, what: object) -> str:
    """Return a sentence about a failure, without a full stop if the error is unexpected.

    Parameters
    ----------
    error : Exception
        The error.
    what : object
        Name of the file or image for the message.
    """
    if isinstance(error, StyleTransferError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or what} failed ({error.strerror or error})."
    if isinstance(error, MemoryError):
        return f"There is not enough memory for {what}."
    text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    text = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
    return f"{what} failed unexpectedly ({text})"


def unexpected_traceback(error: Exception) -> str | None:
    """Return the traceback of an unexpected error; None for errors with a message for users."""
    if isinstance(error, (StyleTransferError, OSError, MemoryError)):
        return None
    return "".join(traceback.format_exception(error))


def log_traceback(sentence: str, text: str, log: Path) -> str:
    """Write a traceback to a log file and to `logging`, and return where it is.

    Parameters
    ----------
    sentence : str
        The result of `error_sentence`.
    text : str
        The result of `unexpected_traceback`.
    log : Path
        The log file.

    Returns
    -------
    str
        The sentence, completed by the name of the log file.
    """
    _logger.error("%s\n%s", sentence, text)
    try:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n{text}\n")
    except OSError as error:
        return f"{sentence}; {log} cannot be written ({error.strerror})."
    return f"{sentence}; the traceback is in {log}."


_logger = logging.getLogger("napari_nst.batch")
_logger.addHandler(logging.NullHandler())  # without a handler, logging prints to stderr
