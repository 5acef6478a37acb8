"""What README.md and docs show is true: examples run, commands exist, and links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import thin_vgg
import typer
from napari.components import ViewerModel
from PIL import Image

from docs_pages import PAGES, ROOT, Block, anchors, blocks, commands, links, mentions
from make_docs_pictures import PICTURES
from napari_nst import StyleTransferSettings
from napari_nst.cli import app
from napari_nst.engine.network import weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
EXAMPLES = [
    pytest.param(page, block, id=f"{name}:{block.line}")
    for page, name in zip(PAGES, NAMES, strict=True)
    for block in blocks(page)
    if block.language == "python"
]
COMMANDS = [
    pytest.param(words, id=f"{name}: {' '.join(words)}")
    for page, name in zip(PAGES, NAMES, strict=True)
    for words in commands(page)
]
MENTIONS = [
    pytest.param(words, id=f"{name}: {' '.join(words)}")
    for page, name in zip(PAGES, NAMES, strict=True)
    for words in mentions(page)
]


@pytest.fixture
def stand_ins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: NDArray[np.float32],
    style: NDArray[np.float32],
) -> dict[str, Any]:
    """The names that examples use without making them, in a folder with pictures.

    Runs use a network with few channels, which is quick at any size.
    """
    monkeypatch.chdir(tmp_path)
    thin = replace(weights.load("vgg16"), tensors=thin_vgg.weights("vgg16"))
    monkeypatch.setattr(weights, "load", lambda *_: thin)
    for folder, image in (("photos", content), ("styles", style), ("masks", content)):
        (tmp_path / folder).mkdir()
        name = "woodcut.png" if folder == "styles" else "coins.png"
        Image.fromarray((image * 255).astype(np.uint8)).save(tmp_path / folder / name)
    viewer = ViewerModel()
    viewer.add_image(np.arange(5 * 20 * 24, dtype=np.uint16).reshape(5, 20, 24), scale=(2, 1, 1))
    return {"content": content, "style": style, "viewer": viewer}


def parse(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters of a command, without running it."""
    command: Any = typer.main.get_command(app)
    name, remaining = "napari-nst", list(words)
    while hasattr(command, "commands") and not remaining[0].startswith("-"):
        name, *remaining = remaining
        command = command.commands[name]
    parameters: dict[str, Any] = command.make_context(name, remaining).params
    return parameters


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_an_example_runs(page: Path, example: Block, stand_ins: dict[str, Any]) -> None:
    source = "\n" * (example.line - 1) + example.text  # a traceback names the line of the page
    exec(compile(source, page, "exec"), stand_ins)


def test_examples_are_found_in_the_readme_and_in_docs() -> None:
    found = {str(example.id).partition(":")[0] for example in EXAMPLES}
    assert {"README.md", "docs/batches.md", "docs/api/index.md"} <= found


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_names_an_existing_subcommand_options_and_settings(
    words: tuple[str, ...],
) -> None:
    parameters = parse(words)
    for option in ("choices", "rows", "columns"):
        given = parameters.get(option) or []
        for choice in [given] if isinstance(given, str) else given:
            assert choice.partition("=")[0] in StyleTransferSettings.model_fields


@pytest.mark.parametrize("words", MENTIONS)
def test_a_command_in_a_sentence_names_an_existing_subcommand_and_options(
    words: tuple[str, ...],
) -> None:
    try:
        parse(words)
    except typer.Exit as end:  # --help
        assert end.exit_code == 0
    except typer.TyperException as error:
        assert error.format_message().startswith("Missing ")


def test_unknown_commands_and_options_are_found() -> None:
    with pytest.raises(KeyError, match="stylise"):
        parse(("stylise", "a.png", "b.png", "-o", "c.png"))
    with pytest.raises(typer.TyperException) as error:
        parse(("stylize", "a.png", "b.png", "-o", "c.png", "--colour", "style"))
    assert "No such option: --colour" in error.value.format_message()


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    assert ("presets",) in commands(ROOT / "docs" / "command-line.md")
    assert ("weights", "verify") in mentions(ROOT / "docs" / "weights.md")
    readme = commands(ROOT / "README.md")
    assert any(words[0] == "batch" and "masks" in words for words in readme)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for line, target in links(page):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{page.name}:{line}: {target}")
    assert not broken


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_a_page_is_in_the_navigation_of_the_site(name: str) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").splitlines()
    page = name.removeprefix("docs/")
    assert any(line.strip().endswith(f": {page}") for line in navigation)


def test_every_picture_that_a_command_makes_is_shown_on_its_page() -> None:
    shown = {
        (page.parent / link.target).resolve()
        for page in (ROOT / "docs" / "controls.md", ROOT / "docs" / "gallery.md")
        for link in links(page)
    }
    assert len(PICTURES) > 10
    assert set(PICTURES) <= shown


@pytest.mark.parametrize(
    "module",
    ["napari_nst", *(f"napari_nst.{name}" for name in ("batch", "presets", "settings", "stacks"))],
)
def test_public_classes_and_functions_are_in_the_api_reference(module: str) -> None:
    pages = "".join(page.read_text("utf-8") for page in ROOT.glob("docs/api/*.md"))
    documented = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    public = importlib.import_module(module)
    for name in public.__all__:
        value = getattr(public, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            names = {f"{module}.{name}", f"napari_nst.{name}"}
            assert names & documented, f"{module}.{name} is in no page of docs/api"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_links_of_the_site_stay_inside_it(name: str) -> None:
    folders_below_docs = name.count("/") - 1
    targets = [target for _, target in links(ROOT / name)]
    assert not [target for target in targets if target.count("../") > folders_below_docs]
