"""Print what projects of ours require, themselves left out: `requirements_of.py server[cpu] clients/python`.

For installing what they stand on before, or without, the projects. Standard library only.
"""

import re
import sys
import tomllib
from pathlib import Path


def main(folders: list[str]) -> None:
    """One requirement a line, sorted, of all projects together."""
    projects = [read(folder) for folder in folders]
    ours = {project["name"] for project, _ in projects}
    lines = {line for project, extras in projects for line in required_by(project, extras)}
    print("\n".join(sorted(line for line in lines if name_of(line) not in ours)))  # noqa: T201 - what it is for


def read(folder: str) -> tuple[dict, list[str]]:  # type: ignore[type-arg]
    """`training[import]` -> its table `project`, and the extras that are asked for."""
    path, _, extras = folder.rstrip("]").partition("[")
    described = tomllib.loads(Path(path, "pyproject.toml").read_text(encoding="utf-8"))
    return described["project"], [extra for extra in extras.split(",") if extra]


def required_by(project: dict, extras: list[str]) -> list[str]:  # type: ignore[type-arg]
    """Its requirements and those of the extras. Raises KeyError for an extra that it does not have."""
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return lines


def name_of(requirement: str) -> str:
    """`uvicorn[standard]>=0.35,<1` -> `uvicorn`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0]


if __name__ == "__main__":
    main(sys.argv[1:])
