"""Imports between the components of the package, and of other packages."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import napari_nst

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(napari_nst.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

ARCHITECTURE = Path(__file__).parents[1] / "docs" / "architecture.md"


def allowed_imports() -> dict[str, set[str]]:
    """Return the allowed imports of each component, from the table in docs/architecture.md."""
    section = (
        ARCHITECTURE.read_text(encoding="utf-8").partition("## Components")[2].partition("\n## ")[0]
    )
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {
        component.strip(): {name.strip() for name in allowed.split(",") if name.strip()}
        for component, _, allowed in rows[2:]
    }


ALLOWED = allowed_imports()
VIEWER = {"napari", "qtpy", "magicgui", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6"}
TORCH = {"torch", "torchvision", "safetensors"}
COMPILERS = ("triton", "torchvision", "torch._dynamo", "torch._inductor", "torch.optim")


class Import(NamedTuple):
    """An imported module; `late`: in a function; `typing`: for types only."""

    name: str
    late: bool
    typing: bool = False


def package(module: Path) -> str:
    """Return the top-level package or module, for example "engine" or "settings"."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


OWN = {package(module) for module in MODULES}


def component_of(name: str) -> str:
    """Return the component of a module: "engine.network" for "engine.network.vgg"."""
    parts = name.split(".")
    inside = parts[0] in ("engine", "plugin") and PACKAGE.joinpath(*parts[:2]).is_dir()
    return ".".join(parts[: 2 if inside else 1])


def imports(tree: ast.AST, late: bool = False, typing: bool = False) -> Iterator[Import]:
    """Yield every import, also in functions and under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, late, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "a relative import"
            # "from napari_nst import samples" imports a component.
            yield from (Import(f"{node.module}.{alias.name}", late, typing) for alias in node.names)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            yield from imports(node, late or function, typing or checking)


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


@cache
def imports_of(module: Path) -> tuple[Import, ...]:
    return tuple(imports(tree_of(module)))


def packages_of(module: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    return {found.name.split(".")[0] for found in imports_of(module)}


each_module = pytest.mark.parametrize(
    "module", MODULES, ids=[str(module.relative_to(PACKAGE)) for module in MODULES]
)


def test_every_kind_of_import_is_found() -> None:
    code = (
        "import a.b, c\nfrom d import e\nif TYPE_CHECKING:\n    import f\n"
        "class K:\n    def g(self):\n        from h import i\n        async def j(): import k\n"
    )
    found = list(imports(ast.parse(code)))
    assert {each.name for each in found if not each.late} == {"a.b", "c", "d.e", "f"}
    assert {each.name for each in found if each.late} == {"h.i", "k"}
    assert {each.name for each in found if each.typing} == {"f"}
    assert {"engine", "plugin", "samples", "files", "settings"} <= OWN


@each_module
def test_components_import_only_what_the_architecture_allows(module: Path) -> None:
    if module == PACKAGE / "__init__.py":
        return  # the public names
    here = ".".join(module.relative_to(PACKAGE).with_suffix("").parts)
    here = component_of(here.removesuffix(".__init__"))
    assert here in ALLOWED, f"{here} is a new component: add it to docs/architecture.md"
    for found in imports_of(module):
        top, _, name = found.name.partition(".")
        if top != "napari_nst" or name.split(".")[0] not in OWN:
            continue  # another package, or a public name such as napari_nst.stylize
        there = component_of(name)
        if here == "cli" and package(PACKAGE / there) == "plugin":
            assert found.late, "the command line imports the plugin only for its demo"
            continue
        if found.typing and there.split(".")[0] == here.split(".")[0]:
            continue
        assert there == here or there in ALLOWED[here], f"{here} imports {found.name}"


def test_the_allowed_imports_have_no_cycle() -> None:
    left = dict(ALLOWED)
    while leaves := [name for name, allowed in left.items() if not allowed & left.keys()]:
        for name in leaves:
            del left[name]
    assert not left


@each_module
def test_only_the_plugin_imports_the_viewer(module: Path) -> None:
    if package(module) not in ("plugin", "cli"):
        assert not packages_of(module) & VIEWER
    for found in imports_of(module):
        if package(module) == "cli" and found.name.split(".")[0] in VIEWER:
            assert found.late, f"the command line imports {found.name} at its start"


@each_module
def test_only_the_engine_and_the_command_line_import_torch(module: Path) -> None:
    if package(module) not in ("engine", "cli"):
        assert not packages_of(module) & TORCH


@each_module
def test_nothing_imports_a_compiler(module: Path) -> None:
    """Triton crashes a process with software OpenGL: see tests/plugin/test_triton.py."""
    for found in imports_of(module):
        assert not found.name.startswith(COMPILERS), f"{module.name} imports {found.name}"
    attributes = {
        ast.unparse(node) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)
    }
    assert not attributes & {"torch.compile", "torch._dynamo", "torch.optim"}


@pytest.mark.parametrize("module", sorted((PACKAGE / "engine").rglob("*.py")), ids=lambda m: m.name)
def test_the_engine_never_prints(module: Path) -> None:
    calls = [node.func for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}


def loaded_by(*statements: str) -> list[set[str]]:
    """Return the packages that an interpreter has loaded after each of some statements.

    Each imports this package from the start; other packages stay loaded.
    """
    after = (
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
        "for name in [*sys.modules]:\n    if name.split('.')[0] == 'napari_nst':"
        " del sys.modules[name]"
    )
    code = "\n".join(["import sys", *(f"{statement}\n{after}" for statement in statements)])
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    return [set(line.split()) for line in run.stdout.splitlines()]


def test_importing_the_package_loads_neither_torch_nor_a_viewer() -> None:
    (found,) = loaded_by("import napari_nst; dir(napari_nst); napari_nst.__all__")
    assert "napari_nst" in found
    assert not found & (VIEWER | TORCH | {"numpy", "pydantic"})


LIGHT = (
    "import napari_nst; napari_nst.StyleTransferSettings(); napari_nst.RunRecord",
    "import napari_nst; napari_nst.StyleTransferError",
    "import napari_nst; napari_nst.samples",
    "import napari_nst; napari_nst.ranges",
    "import napari_nst.files",
    "import napari_nst.batch.cluster",
    "import napari_nst.engine.resources.costs",
    "import napari_nst.cli",
)


ENGINE = "import napari_nst; napari_nst.stylize"


@cache
def loaded_by_all() -> dict[str, set[str]]:
    """Return what one interpreter has loaded after each statement of `LIGHT`, then the engine."""
    statements = (*LIGHT, ENGINE)
    return dict(zip(statements, loaded_by(*statements), strict=True))


@pytest.mark.parametrize("statement", LIGHT)
def test_settings_samples_files_and_costs_need_neither_torch_nor_a_viewer(statement: str) -> None:
    assert not loaded_by_all()[statement] & (VIEWER | TORCH)


def test_the_engine_needs_no_viewer() -> None:
    found = loaded_by_all()[ENGINE]
    assert "torch" in found
    assert not found & VIEWER


def test_layers_can_be_stylized_without_qt() -> None:
    found, made = loaded_by(
        "import napari_nst; napari_nst.stylize_layer",
        "import numpy; from napari.layers import Image; import napari_nst;"
        "a = Image(numpy.arange(256.).reshape(16, 16));"
        "napari_nst.stylize_layer(a, a, size=16, iterations=1)",
    )
    assert "napari" in found
    without = VIEWER - {"napari", "magicgui"}  # napari's layers load magicgui, without Qt
    assert not found & (TORCH | without)
    assert "torch" in made
    assert not made & without


def test_opening_the_panel_does_not_wait_for_torch() -> None:
    (found,) = loaded_by("import napari_nst.plugin.panel")
    assert "napari" in found
    assert not found & TORCH


def test_the_declared_dependencies_are_the_imported_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    extras = (optional[name] for name in ("distributed", "film", "motion", "zarr"))
    required = [*project["dependencies"], *(each for extra in extras for each in extra)]
    declared = {re.split(r"[^\w-]", each)[0] for each in required}
    modules = {name for module in MODULES for name in packages_of(module)}
    packages = importlib.metadata.packages_distributions()
    others = modules - sys.stdlib_module_names - {"napari_nst"} | {"pyqtgraph"}  # by import_module
    assert {packages[name][0].lower() for name in others} == declared


def test_every_public_name_exists() -> None:
    for name in napari_nst.__all__:
        assert getattr(napari_nst, name) is not None
    assert dir(napari_nst) == sorted(napari_nst.__all__)
