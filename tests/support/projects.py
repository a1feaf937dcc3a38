"""Read the requirements of our projects from their `pyproject.toml`."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = frozenset({"diptych", "diptych-client", "diptych-everyday", "diptych-training"})


def project(folder: str) -> dict[str, dict[str, list[str]]]:
    """Return the table `project` of a project."""
    text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, dict[str, list[str]]] = tomllib.loads(text)["project"]
    return table


def declared(folder: str) -> set[NormalizedName]:
    """Return the names of all requirements of a project, those of its extras too."""
    table = project(folder)
    extras = table.get("optional-dependencies", {}).values()
    lines = [*table["dependencies"], *(line for extra in extras for line in extra)]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def requirements_of(*folders: str) -> list[Requirement]:
    """Return the requirements of `server[cpu]` and the like, without our own projects."""
    lines: list[str] = []
    for folder in folders:
        path, _, extras = folder.rstrip("]").partition("[")
        table = project(path)
        lines += table["dependencies"]
        for extra in filter(None, extras.split(",")):
            lines += table["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.name not in OURS]
