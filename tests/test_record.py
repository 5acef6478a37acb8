"""The record of a run: JSON, versions, immutability."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_nst import RunRecord, StyleTransfer, StyleTransferSettings
from napari_nst.record import InputRecord, Resolved, ScaleRecord, versions

names = st.text(max_size=20)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
counts = st.integers(1, 10**6)
inputs = st.builds(
    InputRecord,
    name=names,
    shape=st.lists(counts, min_size=2, max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "float32"]),
    sha256=hashes,
)
resolved = st.builds(
    Resolved,
    device=st.sampled_from(["cpu", "cuda:0"]),
    device_name=names,
    precision=st.sampled_from(["float32", "bfloat16"]),
    threads=counts,
    weights=names,
    weights_sha256=hashes,
    scales=st.lists(
        st.builds(ScaleRecord, height=counts, width=counts, iterations=counts), max_size=4
    ).map(tuple),
)
records = st.builds(
    RunRecord,
    settings=st.builds(
        StyleTransferSettings,
        size=st.none() | counts,
        style_layers=st.just({"relu1_1": 0.1, "conv2_1": 3.0}),
        style_weights=st.none() | st.just((0.25, 0.75)),
    ),
    resolved=resolved,
    content=inputs,
    styles=st.lists(inputs, max_size=3).map(tuple),
    init_image=st.none() | inputs,
    iterations=counts,
    losses=st.dictionaries(
        st.sampled_from(["content", "style", "tv", "temporal", "total"]), st.floats(0, 1e9)
    ),
    status=st.sampled_from(["finished", "stopped", "failed", "running"]),
)


@settings(max_examples=50)
@given(records)
def test_records_round_trip_through_json(record: RunRecord) -> None:
    assert RunRecord.model_validate_json(record.to_json()) == record
    assert RunRecord.model_validate(json.loads(json.dumps(record.to_dict()))) == record


def test_versions_of_python_torch_numpy_and_the_package_are_recorded() -> None:
    assert versions() == {
        "napari-nst": version("napari-nst"),
        "torch": torch.__version__,  # with the build, such as +cu130
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def test_reading_versions_does_not_import_torch() -> None:
    code = "import sys; from napari_nst.record import versions; v = versions()['torch']\n"
    code += "assert 'torch' not in sys.modules; print(v)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == version("torch")


@pytest.fixture(scope="module")
def run(content: Any, style: Any) -> StyleTransfer:
    chosen = StyleTransferSettings(
        content_layers=("relu1_2",), style_layers=("relu1_1",), iterations=3, scales=1, device="cpu"
    )
    run = StyleTransfer(content, style, chosen)
    list(run)
    return run


def test_the_record_of_a_run_round_trips_through_json(run: StyleTransfer) -> None:
    record = run.record
    again = RunRecord.model_validate_json(record.to_json())
    assert again == record
    assert again.settings == run.settings
    assert again.versions == versions()


def test_the_record_of_a_run_has_its_last_losses(run: StyleTransfer) -> None:
    last = run.history[-1]
    assert run.record.iterations == len(run.history) == 3
    assert run.record.losses == {
        "content": last.content,
        "style": last.style,
        "tv": last.tv,
        "temporal": last.temporal,
        "total": last.total,
    }


def test_a_record_as_a_dict_has_only_json_types(run: StyleTransfer) -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(run.record.to_dict())


def test_a_record_is_immutable_and_rejects_unknown_fields(run: StyleTransfer) -> None:
    record: Any = run.record
    with pytest.raises(ValidationError, match="frozen"):
        record.iterations = 7
    with pytest.raises(ValidationError, match="frozen"):
        record.content.name = "x"
    with pytest.raises(ValidationError, match="extra_forbidden"):
        RunRecord.model_validate({**record.to_dict(), "more": 1})
    with pytest.raises(ValidationError, match="status"):
        RunRecord.model_validate({**record.to_dict(), "status": "lost"})
