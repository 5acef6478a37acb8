"""Errors as sentences, and tracebacks in a log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from napari_nst.errors import InputError, WeightsError
from napari_nst.failures import error_sentence, log_traceback, unexpected_traceback

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "sentence", "expected"),
    [
        (InputError("a is b; give c."), "a is b; give c.", True),
        (WeightsError("none."), "none.", True),
        (OSError(28, "No space left", "x"), "x failed (No space left).", True),
        (OSError("gone"), "photo.png failed (gone).", True),
        (MemoryError(), "There is not enough memory for photo.png.", True),
        (
            ZeroDivisionError("by\n0"),
            "photo.png failed unexpectedly (ZeroDivisionError: by 0)",
            False,
        ),
        (RecursionError(), "photo.png failed unexpectedly (RecursionError)", False),
        (KeyError("s" * 999), "photo.png failed unexpectedly (KeyError: 'sss", False),
    ],
)
def test_errors_become_sentences_and_only_unexpected_ones_have_tracebacks(
    error: Exception, sentence: str, expected: bool
) -> None:
    result = error_sentence(error, "photo.png")
    assert result.startswith(sentence) and "\n" not in result and len(result) < 300
    assert (unexpected_traceback(error) is None) == expected


def test_traceback_is_written_to_the_log_file_and_to_logging(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    with caplog.at_level(logging.ERROR, "napari_nst.batch"):
        for number in range(2):
            assert log_traceback(f"a{number} failed", "trace", log) == (
                f"a{number} failed; the traceback is in {log}."
            )
    assert log.read_text().count("trace\n") == 2
    assert "a1 failed\ntrace" in caplog.text
    assert f"; {tmp_path} cannot be written (" in log_traceback("a", "trace", tmp_path)
