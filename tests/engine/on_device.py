"""The device that the engine's tests run on: `pytest tests/engine --device cuda`."""

from __future__ import annotations

import os

__all__ = ["DEVICE"]

DEVICE = os.environ.get("NAPARI_NST_TEST_DEVICE", "cpu")
