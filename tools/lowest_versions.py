"""Print pip constraints to the lowest versions that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# A name, perhaps with extras, and a lower bound, perhaps with other bounds after it.
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[.*\])?>=(?P<version>[\w.]+)(?:,.*)?")


def lowest_versions(project: Mapping[str, Any]) -> list[str]:
    """Return a constraint for each dependency of a project.

    Parameters
    ----------
    project : mapping
        The table ``project`` of pyproject.toml.

    Raises
    ------
    ValueError
        If a dependency has no lower bound.
    """
    constraints = set()
    extras = project.get("optional-dependencies", {}).values()
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        parts = _REQUIREMENT.fullmatch(requirement)
        if parts is None:
            raise ValueError(f"{requirement!r} has no lower bound: write it as 'name>=1.0'.")
        constraints.add(f"{parts['name']}=={parts['version']}")
    return sorted(constraints)


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest_versions(tomllib.loads(text)["project"])))
