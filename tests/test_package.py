"""The built package: its metadata is what package indexes and the napari hub show."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from docs_pages import ROOT, links

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """Return the metadata of a wheel built from the repository."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_relative_links_of_the_readme_are_absolute_in_the_description(
    metadata: Message, tmp_path: Path
) -> None:
    description = tmp_path / "description.md"
    description.write_bytes(metadata.get_payload(decode=True))  # type: ignore[arg-type]
    text = description.read_text(encoding="utf-8")
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    pages = f"{urls['Homepage']}/blob/main/"
    files = f"{urls['Homepage']}/main/".replace("//github.com/", "//raw.githubusercontent.com/")
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)

    assert links(description) == []
    for _, target in links(ROOT / "README.md"):
        base = files if target.startswith("docs/images/") else pages
        assert f"]({base}{target})" in text
    assert f"{files}docs/images/demo.webp" in images
    assert not any(image.startswith(pages) for image in images)


def test_the_description_is_markdown_and_the_hub_finds_the_plugin(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Summary"]
    assert "Framework :: napari" in metadata.get_all("Classifier", [])
