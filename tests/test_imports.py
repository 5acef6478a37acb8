"""The arrows between the rooms of the house, and how large the rooms are."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import napari_nst

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(napari_nst.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What a room may know of the package, itself aside.  A room that is not here is a new one:
# decide where it stands before it imports anything.
KNOWLEDGE = {"errors", "networks", "mappings", "settings", "record", "ranges"}
TOOLS = {
    *(*KNOWLEDGE, "engine", "presets", "own_presets", "samples", "files", "speed", "cache"),
    "sampling",
    "durations",
}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "networks": {"errors"},
    "mappings": {"errors"},
    "settings": {"errors", "networks", "mappings"},
    "record": {"errors", "networks", "settings"},
    "presets": {"errors", "settings"},
    "own_presets": {"atomic", "errors", "settings", "presets"},
    "samples": {"errors"},
    "files": {"atomic", "errors", "ranges"},
    "atomic": set(),
    "cache": {"atomic"},
    "failures": {"errors"},
    "ranges": {"errors"},
    "sampling": set(),
    "durations": set(),
    "speed": {"cache"},
    "engine": {*KNOWLEDGE, "atomic", "cache"},
    "stacks": {*KNOWLEDGE, "atomic", "engine"},
    "batch": {*KNOWLEDGE, "atomic", "engine", "stacks", "files", "failures"},
    "plugin": {*TOOLS, "stacks", "batch"},
    "cli": {*TOOLS, "stacks", "batch", "failures"},
    "__init__": {*TOOLS, "stacks", "batch", "plugin"},  # the public names
}
VIEWER = {"napari", "qtpy", "magicgui", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6"}
TORCH = {"torch", "torchvision", "safetensors"}
COMPILERS = ("triton", "torchvision", "torch._dynamo", "torch._inductor", "torch.optim")


class Import(NamedTuple):
    """A module that is imported, and whether that happens in a function."""

    name: str
    late: bool


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, late: bool = False) -> Iterator[Import]:
    """Every import, those in functions and under TYPE_CHECKING included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "a relative import"
            yield Import(node.module, late)
            # "from napari_nst import samples" names a room
            yield from (Import(f"{node.module}.{alias.name}", late) for alias in node.names)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, late or function)


def imports_of(module: Path) -> list[Import]:
    return list(imports(ast.parse(module.read_text(encoding="utf-8"))))


def outside(module: Path) -> set[str]:
    """The top-level packages a module imports, anywhere in it."""
    return {found.name.split(".")[0] for found in imports_of(module)}


each_module = pytest.mark.parametrize(
    "module", MODULES, ids=[str(module.relative_to(PACKAGE)) for module in MODULES]
)


def test_the_walk_sees_every_kind_of_import() -> None:
    code = (
        "import a.b, c\nfrom d import e\nif TYPE_CHECKING:\n    import f\n"
        "class K:\n    def g(self):\n        from h import i\n        async def j(): import k\n"
    )
    found = list(imports(ast.parse(code)))
    assert {name for name, late in found if not late} == {"a.b", "c", "d", "d.e", "f"}
    assert {name for name, late in found if late} == {"h", "h.i", "k"}
    assert {"engine", "plugin", "samples", "files", "settings"} <= {room(m) for m in MODULES}


@each_module
def test_arrows_go_one_way(module: Path) -> None:
    here = room(module)
    assert here in ARROWS, f"{here} is a new room: say in ARROWS what it may know"
    for found in imports_of(module):
        package, _, rest = found.name.partition(".")
        if package != "napari_nst" or not rest:
            continue
        there = rest.split(".")[0]
        if not any(room(other) == there for other in MODULES):
            continue  # a name of the package's own, such as napari_nst.stylize
        if here == "cli" and there == "plugin":
            assert found.late, "the command line loads the viewer for its demo alone"
            continue
        assert there == here or there in ARROWS[here], f"{here} imports {found.name}"


@each_module
def test_only_the_plugin_knows_the_viewer(module: Path) -> None:
    if room(module) not in ("plugin", "cli"):
        assert not outside(module) & VIEWER
    for found in imports_of(module):
        if room(module) == "cli" and found.name.split(".")[0] in VIEWER:
            assert found.late, f"the command line imports {found.name} at once"


@each_module
def test_only_the_engine_and_the_command_line_know_torch(module: Path) -> None:
    if room(module) not in ("engine", "cli"):
        assert not outside(module) & TORCH


@each_module
def test_nothing_imports_a_compiler(module: Path) -> None:
    """Triton's LLVM and Mesa's end the process that has both: see tests/plugin/test_triton.py."""
    for found in imports_of(module):
        assert not found.name.startswith(COMPILERS), f"{module.name} imports {found.name}"
    attributes = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert not attributes & {"torch.compile", "torch._dynamo", "torch.optim"}


@pytest.mark.parametrize("module", sorted((PACKAGE / "engine").rglob("*.py")), ids=lambda m: m.name)
def test_the_engine_never_prints(module: Path) -> None:
    calls = [
        node.func
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}


def loaded_by(statement: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    return set(run.stdout.split())


def test_importing_the_package_loads_neither_torch_nor_a_viewer() -> None:
    found = loaded_by("import napari_nst; dir(napari_nst); napari_nst.__all__")
    assert "napari_nst" in found
    assert not found & (VIEWER | TORCH | {"numpy", "pydantic"})


@pytest.mark.parametrize(
    "statement",
    [
        "import napari_nst; napari_nst.StyleTransferSettings(); napari_nst.RunRecord",
        "import napari_nst; napari_nst.StyleTransferError",
        "import napari_nst; napari_nst.samples",
        "import napari_nst; napari_nst.ranges",
        "import napari_nst.files",
        "import napari_nst.batch.cluster",
        "import napari_nst.engine.resources.costs",
        "import napari_nst.cli",
    ],
)
def test_settings_samples_files_and_costs_need_neither_torch_nor_a_viewer(statement: str) -> None:
    assert not loaded_by(statement) & (VIEWER | TORCH)


def test_the_engine_needs_no_viewer() -> None:
    found = loaded_by("import napari_nst; napari_nst.stylize")
    assert "torch" in found
    assert not found & VIEWER


def test_layers_can_be_stylized_without_qt() -> None:
    found = loaded_by("import napari_nst; napari_nst.stylize_layer")
    assert "napari" in found
    without = VIEWER - {"napari", "magicgui"}  # napari's layers load magicgui, which is no Qt
    assert not found & (TORCH | without)
    made = loaded_by(
        "import numpy; from napari.layers import Image; import napari_nst;"
        "a = Image(numpy.arange(256.).reshape(16, 16));"
        "napari_nst.stylize_layer(a, a, size=16, iterations=1)"
    )
    assert "torch" in made
    assert not made & without


def test_opening_the_panel_does_not_wait_for_torch() -> None:
    found = loaded_by("import napari_nst.plugin.panel")
    assert "napari" in found
    assert not found & TORCH


def test_the_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    required = [*project["dependencies"], *optional["distributed"], *optional["zarr"]]
    declared = {re.split(r"[^\w-]", each)[0] for each in required}
    modules = {name for module in MODULES for name in outside(module)}
    packages = importlib.metadata.packages_distributions()
    others = modules - sys.stdlib_module_names - {"napari_nst"} | {"pyqtgraph"}  # by import_module
    assert {packages[name][0].lower() for name in others} == declared


def test_every_public_name_is_there() -> None:
    for name in napari_nst.__all__:
        assert getattr(napari_nst, name) is not None
    assert dir(napari_nst) == sorted(napari_nst.__all__)
