"""What can go wrong, said so that its reader knows what to do.

None of these is a RuntimeError: a generator worker of superqt swallows those, and neither
the viewer nor its user would ever hear of the failure.
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

_LONGEST = 60  # characters of a value in a message


class StyleTransferError(Exception):
    """Anything napari-nst has to say about a run that cannot begin or go on."""


class InputError(StyleTransferError, ValueError):
    """An image, a setting or a file is not what it would have to be.

    The message is one sentence with the name of the culprit, its value and what would be right.
    """


class WeightsError(StyleTransferError):
    """A network's weights are missing, damaged or not the ones they should be."""


class OutOfMemoryError(StyleTransferError):
    """The run needs more memory than there is."""


class StyleTransferWarning(UserWarning):
    """A run goes on, but not quite as it was asked for."""


def abridged(value: object) -> str:
    """Return a value as a message shows it: its repr on one line, its middle left out if long."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = _LONGEST
    try:
        text = " ".join(short.repr(value).split())
    except ValueError:  # Python refuses to write an integer of more than 4300 digits
        text = object.__repr__(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
