"""Code blocks, commands and links of the pages in Markdown: README.md, docs, examples."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

__all__ = ["PAGES", "ROOT", "Block", "Link", "anchors", "blocks", "commands", "links", "mentions"]

ROOT = Path(__file__).parents[1]
_PATTERNS = ("*.md", "docs/**/*.md", "examples/**/*.md")
PAGES = tuple(sorted(page for pattern in _PATTERNS for page in ROOT.glob(pattern)))
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_PROGRAM = "napari-nst "


class Block(NamedTuple):
    """A code block: its first line in the page, from 1, its language or "", and its text."""

    line: int
    language: str
    text: str


class Link(NamedTuple):
    """Target of a link or an image, and the line of its paragraph, from 1."""

    line: int
    target: str


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, fenced or indented."""
    found = []
    for token in _tokens(page):
        if token.type in ("fence", "code_block") and token.map is not None:
            first = token.map[0] + (2 if token.type == "fence" else 1)
            found.append(Block(first, token.info.strip(), token.content))
    return found


def commands(page: Path) -> list[tuple[str, ...]]:
    """Return the words of each line of napari-nst in code blocks, without the program's name."""
    lines = []
    for block in blocks(page):
        if block.language != "python":
            lines += block.text.replace("\\\n", " ").splitlines()
    return _words(lines)


def mentions(page: Path) -> list[tuple[str, ...]]:
    """Return the words of each command in a sentence, which may be without its arguments."""
    parts = [part for token in _tokens(page) for part in token.children or ()]
    return _words([part.content for part in parts if part.type == "code_inline"])


def links(page: Path) -> list[Link]:
    """Return the links and images of a page that lead to other files or to headings."""
    found = []
    for token in _tokens(page):
        for part in token.children or ():
            target = part.attrGet("href" if part.type == "link_open" else "src")
            if isinstance(target, str) and not re.match(r"[a-z]+:", target):
                found.append(Link(token.map[0] + 1 if token.map else 0, target))
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repository browsers make them."""
    tokens = list(_tokens(page))
    headings = [after for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {
        re.sub(r"[^\w\- ]", "", heading.content.lower()).replace(" ", "-") for heading in headings
    }


def _words(lines: list[str]) -> list[tuple[str, ...]]:
    return [
        tuple(shlex.split(line, comments=True)[1:]) for line in lines if line.startswith(_PROGRAM)
    ]


def _tokens(page: Path) -> Iterator[Token]:
    yield from _MARKDOWN.parse(page.read_text("utf-8"))
