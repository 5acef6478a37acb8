"""The constraints for a test of the lowest versions."""

from __future__ import annotations

import pytest

from lowest_versions import lowest_versions


def test_each_dependency_is_constrained_to_its_lower_bound() -> None:
    project = {
        "dependencies": ["numpy>=1.26", "scikit-image>=0.23,<1"],
        "optional-dependencies": {"all": ["napari[pyqt6]>=0.9"], "zarr": ["zarr>=3"]},
    }

    assert lowest_versions(project) == [
        "napari==0.9",
        "numpy==1.26",
        "scikit-image==0.23",
        "zarr==3",
    ]


def test_a_dependency_of_the_project_and_of_an_extra_is_constrained_once() -> None:
    project = {
        "dependencies": ["napari>=0.9"],
        "optional-dependencies": {"all": ["napari[pyqt6]>=0.9"]},
    }

    assert lowest_versions(project) == ["napari==0.9"]


def test_a_dependency_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="'numpy' has no lower bound"):
        lowest_versions({"dependencies": ["numpy"]})
