"""Neither modules nor packages import each other in a circle, in any of the three distributions."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support.documents import ROOT

# The folder of each distribution, and how many names deep a module counts by itself and not as its package.
DISTRIBUTIONS = {
    "server/src/diptych": 2,
    "training/src/diptych_training": 1,
    "clients/python/src/diptych_client": 1,
}
Graph = dict[str, set[str]]


def modules(folder: Path) -> dict[str, Path]:
    names = {}
    for file in folder.rglob("*.py"):
        parts = file.relative_to(folder.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the same distribution that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            named = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in known else node.module for full in named.values()}
    return found & known.keys()


def unit(name: str, file: Path, depth: int) -> str:
    """The package of a module; the module itself near the top, and for what an `__init__` holds."""
    package = name.rpartition(".")[0]
    return package if file.name != "__init__.py" and package.count(".") >= depth else name


def circle(graph: Graph) -> list[str]:
    """The first circle of a graph, as names; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_modules_do_not_import_each_other_in_a_circle(folder: str) -> None:
    known = modules(ROOT / folder)
    assert circle({name: imported(file, known) - {name} for name, file in known.items()}) == []


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_packages_do_not_import_each_other_in_a_circle(folder: str) -> None:
    known, graph = modules(ROOT / folder), defaultdict(set)
    units = {name: unit(name, file, DISTRIBUTIONS[folder]) for name, file in known.items()}
    for name, file in known.items():
        graph[units[name]] |= {units[other] for other in imported(file, known)} - {units[name]}
    assert circle(graph) == []


def test_a_circle_is_found() -> None:
    assert sorted(set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}))) == ["a", "b", "c"]
