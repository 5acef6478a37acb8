"""Exceptions and warnings whose messages tell the user what to do.

None is a RuntimeError: the generator workers of superqt swallow those.
"""

from __future__ import annotations

import reprlib

__all__ = [
    "InputError",
    "OutOfMemoryError",
    "StyleTransferError",
    "StyleTransferWarning",
    "WeightsError",
    "abridged",
]

_MAX_LENGTH = 60  # characters of a value in a message


class StyleTransferError(Exception):
    """A run cannot start or continue; the base class of all errors of napari-nst."""


class InputError(StyleTransferError, ValueError):
    """An image, a setting or a file is invalid.

    The message is one sentence that names the input, its value and what would be right.
    """


class WeightsError(StyleTransferError):
    """The weights of a network are missing, damaged or those of another network."""


class OutOfMemoryError(StyleTransferError):
    """The run needs more memory than is free or allowed."""


class StyleTransferWarning(UserWarning):
    """A run continues, but differs from what was requested."""


def abridged(value: object) -> str:
    """Return the repr of a value for a message: on one line, shortened in the middle."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = _MAX_LENGTH
    try:
        text = " ".join(short.repr(value).split())
    except ValueError:  # Python refuses to convert integers of more than 4300 digits
        text = object.__repr__(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
