"""Python and command lines that replay the run of a result layer.  No Qt here.

The result has the same bytes with the same machine, versions and precision, else it looks the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import pprint
import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.cache import cache_directory
from napari_nst.errors import InputError
from napari_nst.files import read_image
from napari_nst.plugin.layers.source import level_of
from napari_nst.plugin.provenance.finding import RunInput, find_layer, origins_from
from napari_nst.plugin.provenance.origins import ORIGINS_KEY, Origin, record_of
from napari_nst.plugin.provenance.python_code import restore_code, take_code
from napari_nst.plugin.provenance.stack_code import check_repeatable, stack_axis, stack_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

__all__ = ["as_command", "as_file_name", "as_python"]

# Role of an input, and its option of `napari-nst replay`; None: a positional argument.
_OPTIONS = {
    "content": None,
    "style": None,
    "init_image": "--init-image",
    "content_labels": "--content-labels",
    "style_labels": "--style-labels",
    "replacement": "--replacement",
}


@dataclass(frozen=True)
class _NamedInput:
    """Input of a run with its role and variable name."""

    role: str  # a key of _OPTIONS
    variable: str
    run_input: RunInput

    @property
    def origin(self) -> Origin | None:
        return next(iter(self.run_input.origins), None)


def _record_of_plane(layer: Layer) -> dict[str, Any]:
    record = record_of(layer)
    if "start_from" in record:
        raise InputError(
            f"{layer.name} is a whole stack, which no command replays: copy as Python, or stylize "
            "'this plane' and copy that."
        )
    return record


def as_python(layer: Layer, layers: Iterable[Layer] = ()) -> str:
    """Return Python that replays the run of a result layer.

    It reads inputs from their files or samples, or else from layers of ``viewer``, the name in
    napari's console.  The replay checks the hash of each.

    Parameters
    ----------
    layer : Layer
        The result.
    layers : iterable of Layer
        The viewer's, to find renamed ones; others keep their names at the time of the run.

    Raises
    ------
    InputError
        If the layer has no record.
    """
    record = record_of(layer)
    layers = list(layers)
    if "start_from" in record:
        return _stack_as_python(layer, record, layers)
    inputs = [*_inputs(layer, record), *_replacements(layer, record)]
    content = next(one for one in inputs if one.role == "content")
    shown = indent(pprint.pformat(record, width=96, sort_dicts=False), "    ")
    lines = [
        f"record = napari_nst.RunRecord.model_validate(\n{shown}\n)",
        f"result = napari_nst.stylize({', '.join(_arguments(inputs, record))}, record=record)",
        "picture = result.image",
        *([] if content.origin is None else restore_code(content.origin, "picture")),
    ]
    blocks = ["\n".join(_load_in_python(one, layers)) for one in inputs]
    return _script(layer, "\n\n".join(blocks), "\n".join(lines))


def _stack_as_python(layer: Layer, record: dict[str, Any], layers: Sequence[Layer]) -> str:
    content, *styles = _inputs_of_stack(layer, record)
    assert content.origin is not None
    check_repeatable(layer, record, content.origin)
    blocks = ["\n".join(_read_in_python(content, layers))]
    blocks += ["\n".join(_load_in_python(style, layers)) for style in styles]
    names = [style.variable for style in styles]
    code = stack_code(layer, record, content.origin, names)
    return _script(layer, "\n\n".join(blocks) + "\n", "\n".join(code))


def _script(layer: Layer, loading: str, running: str) -> str:
    """Return a script with its comment and imports."""
    text = f"{loading}\n{running}"
    imports = {
        "np.": "import numpy as np",
        "tifffile.": "import tifffile",
        "napari_nst.": "import napari_nst",
        "samples.": "from napari_nst import samples",
        "read_image(": "from napari_nst.files import read_image",
        "StackTransfer(": "from napari_nst.stacks import StackTransfer",
    }
    return "\n".join(
        [
            f"# Reproduces {json.dumps(layer.name)}: the same bytes on the same machine, with",
            "# the same versions.",
            *(line for use, line in imports.items() if use in text),
            "",
            loading,
            "",
            running,
            "",
        ]
    )


def as_command(layer: Layer, layers: Iterable[Layer]) -> str:
    """Return the command line that replays the run of a result layer and writes its image.

    The record, and each input that no file contains in the engine's form, is written to the cache
    directory under ``replays``; the command names these files.

    Parameters
    ----------
    layer : Layer
        The result.
    layers : iterable of Layer
        The viewer's, for inputs that came from no file.

    Raises
    ------
    InputError
        If the layer has no record, or an input no longer exists.
    """
    record = _record_of_plane(layer)
    text = json.dumps(record, indent=2)
    folder = cache_directory() / "replays" / hashlib.sha256(text.encode()).hexdigest()[:12]
    layers = list(layers)
    files: dict[str, list[str]] = {role: [] for role in _OPTIONS}
    for one in _inputs(layer, record):
        files[one.role].append(_file(one, layers, folder))
    replacements = list(_replacements(layer, record))
    for number, needed in enumerate(_replacement_records(record), start=1):
        variable = f"replacement_{number}"
        tries = [
            _NamedInput("replacement", variable, RunInput((needed,), one.run_input.origins))
            for one in replacements
        ]
        files["replacement"].append(_first_file(tries, layers, folder))
    if files["style_labels"]:
        files["style_labels"] = _for_each_style(record, files["style_labels"], "none")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(text, encoding="utf-8")
    words = ["napari-nst", "replay", str(folder / "record.json")]
    for role, option in _OPTIONS.items():
        words += [w for file in files[role] for w in ([option, file] if option else [file])]
    words += ["-o", f"{as_file_name(layer.name)}.png"]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _inputs_of_stack(layer: Layer, record: dict[str, Any]) -> Iterator[_NamedInput]:
    """Yield the content at the first plane, and the styles, as they were at the start.

    Raises
    ------
    InputError
        If nothing is known of the content's origin.
    """
    origins = layer.metadata.get(ORIGINS_KEY) or {}
    found = origins_from(origins.get("content"))
    if not found:
        raise InputError(
            f"{layer.name} is a whole stack without a note of its content: stylize again."
        )
    axis, first = stack_axis(layer, found[0]), record["finished"][0]
    index = (*found[0].index[:axis], first["plane"], *found[0].index[axis + 1 :])
    moved = replace(found[0], index=index)
    yield _NamedInput("content", "content", RunInput((first["content"],), (moved,)))
    yield from (one for one in _inputs(layer, record) if one.role == "style")


def _inputs(layer: Layer, record: dict[str, Any]) -> Iterator[_NamedInput]:
    origins = layer.metadata.get(ORIGINS_KEY, {})
    groups: list[tuple[str, Any, Any]] = [
        ("content", [record["content"]], [origins.get("content")]),
        ("style", record["styles"], origins.get("styles")),
        ("init_image", [record.get("init_image")], [origins.get("init_image")]),
        ("content_labels", [record.get("content_labels")], [origins.get("content_labels")]),
        ("style_labels", record.get("style_labels") or (), origins.get("style_labels")),
    ]
    for role, records, found in groups:
        padded = [*(found or ()), *[None] * len(records)]
        for number, (one, origin) in enumerate(zip(records, padded, strict=False), start=1):
            if one is not None:
                variable = role if len(records) == 1 else f"{role}_{number}"
                yield _NamedInput(role, variable, RunInput((one,), origins_from(origin)))


def _replacements(layer: Layer, record: dict[str, Any]) -> Iterator[_NamedInput]:
    """Yield the inputs that replaced others during the run, by origin or else by name.

    The replay finds them by hash, so order and extra ones do not matter.
    """
    needed = tuple(_replacement_records(record))
    if not needed:
        return
    origins = layer.metadata.get(ORIGINS_KEY, {}).get("replacements", ())
    for number, origin in enumerate(origins, start=1):
        run_input = RunInput(needed, origins_from(origin))
        yield _NamedInput("replacement", f"replacement_{number}", run_input)
    if not origins:
        for number, one in enumerate(needed, start=1):
            yield _NamedInput("replacement", f"replacement_{number}", RunInput((one,)))


def _replacement_records(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of inputs that were new during the run, each once."""
    labels = (record.get("content_labels"), *(record.get("style_labels") or ()))
    known = {one["sha256"] for one in (*record["styles"], *labels) if one}
    for change in record.get("steering", ()):
        painted = change.get("style_labels")  # a list, the word "removed" or nothing
        for one in (
            *(change.get("styles") or ()),
            change.get("content_labels"),
            *(painted if isinstance(painted, list) else ()),
        ):
            if isinstance(one, dict) and one["sha256"] not in known:
                known.add(one["sha256"])
                yield one


def _load_in_python(one: _NamedInput, layers: Sequence[Layer]) -> Iterator[str]:
    """Yield the lines that assign an input to its variable, in the engine's form."""
    reading = list(_read_in_python(one, layers))
    yield from reading
    if one.origin is not None:
        yield from take_code(one.origin, one.variable)
    if reading[-1].startswith(f"{one.variable} = viewer."):
        yield f"{one.variable} = np.asarray({one.variable})"


def _read_in_python(one: _NamedInput, layers: Sequence[Layer]) -> Iterator[str]:
    """Yield the lines that assign the data that an input was taken from to its variable."""
    expression, found = _source_in_python(one, layers)
    if layers and not found:
        name = json.dumps(one.run_input.name)
        yield f"# No layer has these pixels now: bring back {name}, or insert its array here."
    yield f"{one.variable} = {expression}"


def _source_in_python(one: _NamedInput, layers: Sequence[Layer]) -> tuple[str, bool]:
    """Return an expression for a layer's data, and whether it has the pixels of the run."""
    origin = one.origin
    for expression, read in () if origin is None else origin.sources():
        # Painting a sample takes seconds: do not paint the second of two to compare it.
        if expression.endswith(".style()") or _still_matches(one, read):
            return expression, True
    layer = find_layer(one.run_input, layers)
    name = one.run_input.name if layer is None else layer.name
    level = "" if origin is None or origin.level is None else f"[{origin.level}]"
    return f"viewer.layers[{name!r}].data{level}", layer is not None


def _still_matches(one: _NamedInput, read: Any) -> bool:
    """Return whether a source still has the input; the file may have changed."""
    assert one.origin is not None
    try:
        return one.run_input.has_pixels(one.origin.take(read()))
    except Exception:  # whatever the file contains, it is not this input
        return False


def _for_each_style(record: dict[str, Any], given: Sequence[str], none: str = "None") -> list[str]:
    """Return the labels of each style in the order of the styles."""
    left = iter(given)
    return [none if labels is None else next(left) for labels in record["style_labels"]]


def _arguments(inputs: Sequence[_NamedInput], record: dict[str, Any]) -> Iterator[str]:
    variables: dict[str, list[str]] = {role: [] for role in _OPTIONS}
    for one in inputs:
        variables[one.role].append(one.variable)
    yield variables["content"][0]
    yield f"[{', '.join(variables['style'])}]"
    for role in ("init_image", "content_labels"):
        if variables[role]:
            yield f"{role}={role}"
    if variables["style_labels"]:
        yield f"style_labels=[{', '.join(_for_each_style(record, variables['style_labels']))}]"
    if variables["replacement"]:
        yield f"replacements=[{', '.join(variables['replacement'])}]"


def _first_file(tries: list[_NamedInput], layers: Sequence[Layer], folder: Path) -> str:
    """Return the file of the first candidate whose pixels are unchanged."""
    for one in tries[:-1]:
        try:
            return _file(one, layers, folder)
        except InputError:  # try the next
            continue
    return _file(tries[-1], layers, folder)


def _file(one: _NamedInput, layers: Sequence[Layer], folder: Path) -> str:
    """Return a file with an input in the engine's form, written if none exists."""
    origin = one.origin
    if origin is not None and origin.path is not None and Path(origin.path).is_file():
        try:
            if one.run_input.has_pixels(read_image(origin.path)):
                return str(Path(origin.path).absolute())
        except InputError:  # not a single image
            pass
    file = folder / f"{one.variable}.npy"
    array = _array(one, layers)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return str(file)


def _array(one: _NamedInput, layers: Sequence[Layer]) -> NDArray[Any]:
    origin = one.origin
    layer = find_layer(one.run_input, layers)
    if layer is not None:
        if origin is None:
            return np.asarray(layer.data)
        return origin.take(level_of(layer, origin.level))
    for _, read in () if origin is None else origin.sources():
        if origin is not None and _still_matches(one, read):
            return origin.take(read())
    raise InputError(
        f"{one.run_input.name} has changed since the run began: no layer and no file has its "
        f"pixels{one.run_input.shape_text}.  Bring back the layer as it was, or copy as Python and "
        "insert the array."
    )


def as_file_name(name: str) -> str:
    """Return a name with underscores for characters that file systems forbid."""
    allowed = "".join(c if c.isalnum() or c in " ._-+()" else "_" for c in name).strip(" .")
    return allowed or "result"
