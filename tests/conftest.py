from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

# After a canvas exists under software OpenGL, the first import of triton (torch.optim does it)
# crashes the process; triton that is there already does not.
if sys.platform in ("linux", "win32") and importlib.util.find_spec("triton") is not None:
    importlib.import_module("triton")

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

# The first example pays for loading torch: times say nothing here.
hypothesis_settings.register_profile("napari-nst", deadline=None)
hypothesis_settings.load_profile("napari-nst")


def make_photo(height: int, width: int) -> NDArray[np.float32]:
    """Return a smooth scene with an edge or two and a little noise, in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    sky = np.stack([0.3 + 0.3 * y, 0.5 + 0.2 * y, 0.9 - 0.3 * y], axis=-1)
    ground = np.stack([0.5 - 0.2 * x, 0.4 + 0.1 * x, 0.2 + 0 * x], axis=-1)
    picture = np.where((y > 0.6 + 0.1 * np.sin(7 * x))[..., None], ground, sky)
    picture[(y - 0.5) ** 2 + (x - 0.4) ** 2 < 0.04] = (0.9, 0.8, 0.1)
    picture += np.random.default_rng(0).normal(0, 0.02, picture.shape)
    return picture.clip(0, 1).astype(np.float32)


def make_stripes(height: int, width: int) -> NDArray[np.float32]:
    """Return slanted stripes of two colours, in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width]
    share = (0.5 + 0.5 * np.sin(0.9 * x + 0.5 * y))[..., None]
    picture = share * np.array([0.9, 0.3, 0.1]) + (1 - share) * np.array([0.1, 0.2, 0.5])
    return picture.astype(np.float32)


@pytest.fixture(scope="session")
def photo() -> Callable[[int, int], NDArray[np.float32]]:
    return make_photo


@pytest.fixture(scope="session")
def stripes() -> Callable[[int, int], NDArray[np.float32]]:
    return make_stripes


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Images this small gain nothing from two, and wait for them where others are at work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def content() -> NDArray[np.float32]:
    """A content image of 40 x 48 pixels; nobody may write to it."""
    image = make_photo(40, 48)
    image.flags.writeable = False
    return image


@pytest.fixture(scope="session")
def style() -> NDArray[np.float32]:
    """A style image of 44 x 36 pixels; nobody may write to it."""
    image = make_stripes(44, 36)
    image.flags.writeable = False
    return image
