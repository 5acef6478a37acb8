"""How many threads of the processor torch computes with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["threads"]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch use so many threads for as long as this lasts.

    Parameters
    ----------
    count : int
        At least 1.  Another number rounds differently.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
