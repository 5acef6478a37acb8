"""The styles of each label of the content."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from napari_nst.engine.images.assignment import Region, Source, assign_styles, check_labels
from napari_nst.errors import InputError

WHOLE = Source(0)


def painted(*labels: int) -> Any:
    """Return an array of labels, each in a column of its own."""
    return np.array([labels, labels])


def sources_and_kept(
    content: Any, styles: Any, region_styles: Any, count: int
) -> tuple[dict[int, Any], Any]:
    """Return the sources of each label, and the labels that keep the content."""
    assignment = assign_styles(content, styles, region_styles, count)
    by_label = {label: r.sources for r in assignment.regions for label in r.labels}
    return by_label, assignment.kept


def test_by_default_every_label_but_0_takes_all_styles() -> None:
    both = (Source(0), Source(1))
    assert sources_and_kept(painted(0, 3, 7), None, None, 2) == ({3: both, 7: both}, (0,))
    assert sources_and_kept(painted(1, 2), None, None, 1) == ({1: (WHOLE,), 2: (WHOLE,)}, ())


def test_labels_missing_in_region_styles_keep_the_content() -> None:
    assert sources_and_kept(painted(0, 1, 2, 3), None, {1: 1, 2: None, 9: 0}, 2) == (
        {1: (Source(1),)},
        (0, 2, 3),
    )
    assert sources_and_kept(painted(0, 1), None, {0: 0}, 1) == (
        {0: (WHOLE,)},
        (1,),
    )  # also label 0 can have a style


def test_labels_take_the_same_label_of_every_style_that_has_it() -> None:
    styles = [painted(0, 1, 2), None, painted(2, 2, 2)]
    assert sources_and_kept(painted(0, 1, 2), styles, None, 3) == (
        {1: (Source(0, 1),), 2: (Source(0, 2), Source(2, 2))},
        (0,),
    )


def test_region_styles_take_precedence_over_labels_on_styles() -> None:
    styles = [painted(1, 2, 3, 4)]
    assert sources_and_kept(painted(0, 1, 2, 3), styles, {1: 0, 2: None, 4: 0}, 1) == (
        {1: (WHOLE,), 3: (Source(0, 3),)},
        (0, 2),
    )


def test_style_labels_of_none_equal_no_style_labels() -> None:
    assert sources_and_kept(painted(0, 1), [None, None], None, 2) == sources_and_kept(
        painted(0, 1), None, None, 2
    )


def test_labels_with_the_same_sources_form_one_region() -> None:
    assignment = assign_styles(painted(1, 2, 3, 4), None, {1: 0, 2: 1, 3: 0, 4: 0}, 2)
    assert assignment.regions == (
        Region((1, 3, 4), (Source(0),)),
        Region((2,), (Source(1),)),
    )


@pytest.mark.parametrize(
    ("content", "styles", "region_styles", "message"),
    [
        (painted(0, 1, 5), [painted(1)], None, r"^Label 5 is on the content and on no style; "),
        (painted(0, 1), [painted(1, 6)], None, r"^Label 6 is on style 0 and not on the content"),
        (painted(1), [None, painted(0, 1, 8)], None, r"^Label 8 is on style 1 and not on the"),
        (painted(1), None, {1: 2}, r"^region_styles gives label 1 the style 2, .* 0 to 1\.$"),
        (painted(0), None, None, r"^No label of the content has a style \(labels 0\): "),
        (painted(1, 2), None, {1: None}, r"^No label of the content has a style \(labels 1, 2\)"),
    ],
)
def test_labels_that_cannot_be_assigned_raise(
    content: Any, styles: Any, region_styles: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        assign_styles(content, styles, region_styles, 2)
    assert "\n" not in str(caught.value)


def test_a_source_is_readable_as_text() -> None:
    assert str(Source(1)) == "style 1"
    assert str(Source(0, 7)) == "style 0, label 7"
    order = [Source(0), Source(0, 0), Source(0, 3), Source(1), Source(1, 2)]
    assert sorted([order[3], order[2], order[4], order[0], order[1]]) == order


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.uint64])
def test_labels_of_every_integer_type_are_accepted(dtype: Any) -> None:
    labels = np.array([[0, 1], [1, 0]], dtype)
    checked = check_labels(labels, "content_labels", (2, 2), "content")
    assert checked.dtype == np.int64
    np.testing.assert_array_equal(checked, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 3), float), r"^mine has dtype float64; labels must be integers\.$"),
        (np.full((2, 3), "a"), r"^mine has dtype <U1; labels must be integers\.$"),
        ([[1, None]], r"^mine has dtype object; "),
        (np.zeros((3, 2), int), r"^mine has shape \(3, 2\); it must be that of photo, \(2, 3\)"),
        (np.zeros((2, 3, 1), int), r"^mine has shape \(2, 3, 1\); "),
        (np.full((2, 3), -1), r"^mine has values from -1 to -1; labels must be 0 or more\.$"),
        (np.full((2, 3), 2**63, np.uint64), r"^mine has values from 9223372036854775808 to"),
    ],
)
def test_invalid_labels_raise(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_labels(labels, "mine", (2, 3), "photo")


def test_assigning_does_not_import_torch() -> None:
    code = "import sys, napari_nst.engine.images.assignment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
