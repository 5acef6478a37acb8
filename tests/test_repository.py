"""Files around the code: workflows, templates, citation, and what publication fills in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="an unpacked sdist has no repository around it"
)

PLACEHOLDER = re.compile(r"\bOWNER\b")
ADDRESSES = (
    re.compile(r"github(?:usercontent)?\.com/([\w.-]+)/napari-nst\b"),
    re.compile(r"\b([\w-]+)\.github\.io/napari-nst\b"),
)


@cache
def texts() -> dict[str, str]:
    """Return the text files of the repository by their paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for name in listed.stdout.split("\0"):
        file = ROOT / name
        if file.is_file() and file != Path(__file__):
            try:
                found[name] = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


def project() -> dict[str, object]:
    table: dict[str, object] = tomllib.loads(texts()["pyproject.toml"])["project"]
    return table


def to_fill_in() -> set[str]:
    """Return the files in the table of CONTRIBUTING.md about publication."""
    section = texts()["CONTRIBUTING.md"].partition("## Publish")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def test_contributing_lists_every_file_that_publication_fills_in() -> None:
    with_placeholder = {name for name, text in texts().items() if PLACEHOLDER.search(text)}

    assert to_fill_in() == with_placeholder


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_of_the_project_has_the_placeholder(address: re.Pattern[str]) -> None:
    owners = {owner for text in texts().values() for owner in address.findall(text)}

    assert owners == {"OWNER"}


def test_the_citation_and_the_changelog_are_of_the_version() -> None:
    version = project()["version"]

    assert f"\nversion: {version}\n" in texts()["CITATION.cff"]
    assert re.search(r"^## (\S+)", texts()["CHANGELOG.md"], re.MULTILINE)[1] == version  # type: ignore[index]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
        ("vendor.github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        (
            "vendor.github-issue-forms",
            [GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "feature")],
        ),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_the_file_follows_its_schema(schema: str, files: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_name_actions_by_the_hash_of_a_commit(workflow: Path) -> None:
    for used in re.findall(r"\buses: (.+)", workflow.read_text(encoding="utf-8")):
        assert re.fullmatch(r"\./\S+|[\w/-]+@[0-9a-f]{40} # v[\d.]+", used)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_scripts_of_workflows_exist_and_can_be_executed(workflow: Path) -> None:
    for script in re.findall(r"\bscripts[/\\][\w.]+", workflow.read_text(encoding="utf-8")):
        file = ROOT / script.replace("\\", "/")
        assert file.is_file()
        assert file.suffix == ".ps1" or os.name == "nt" or os.access(file, os.X_OK)
