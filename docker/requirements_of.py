"""Print what projects of ours require, themselves left out: `requirements_of.py server[cpu] clients/python`.

Use it to install the requirements before the projects, or without them. Standard library only.
"""

import re
import sys
import tomllib
from pathlib import Path


def main(folders: list[str]) -> None:
    """Print the requirements of all projects together, sorted, one per line."""
    projects = [read(folder) for folder in folders]
    ours = {project["name"] for project, _ in projects}
    lines = {line for project, extras in projects for line in required_by(project, extras)}
    print("\n".join(sorted(line for line in lines if name_of(line) not in ours)))  # noqa: T201 - its purpose


def read(folder: str) -> tuple[dict, list[str]]:  # type: ignore[type-arg]
    """Read `training[import]`: return the `project` table of its pyproject.toml and the requested extras."""
    path, _, extras = folder.rstrip("]").partition("[")
    described = tomllib.loads(Path(path, "pyproject.toml").read_text(encoding="utf-8"))
    return described["project"], [extra for extra in extras.split(",") if extra]


def required_by(project: dict, extras: list[str]) -> list[str]:  # type: ignore[type-arg]
    """Return the requirements of a project and of the extras. Raises KeyError for an unknown extra."""
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return lines


def name_of(requirement: str) -> str:
    """Return the name in a requirement: `uvicorn[standard]>=0.35,<1` becomes `uvicorn`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0]


if __name__ == "__main__":
    main(sys.argv[1:])
