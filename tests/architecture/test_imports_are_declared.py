"""Every package of others that a distribution imports stands in its pyproject.toml, extras included.

The test environment has the packages of all distributions, so no other test would miss one.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from support.documents import ROOT
from support.projects import declared

# The folder of each distribution, and its package.
DISTRIBUTIONS = {
    "server": "src/diptych",
    "training": "src/diptych_training",
    "clients/python": "src/diptych_client",
}
# Packages that are called otherwise than the distribution that has them.
DISTRIBUTION_OF = {
    "PIL": "pillow",
    "cuda": "cuda-bindings",
    "faiss": "faiss-cpu",
    "open_clip": "open_clip_torch",
    "pydantic_core": "pydantic",  # which asks for one release of it, and documents it as its own
    "sklearn": "scikit-learn",
}
# For callers who have NumPy: the client itself does not need it.
OPTIONAL = {"clients/python": {"numpy"}}


def imported(source: str) -> Iterator[str]:
    """The names of the packages that a module imports, inside functions too, but not for types alone."""
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
        yield from (name.partition(".")[0] for name in names)


def imported_by(package: Path) -> dict[str, set[str]]:
    """The modules that import a package of others, by the name of its distribution."""
    found = defaultdict(set)
    for file in package.rglob("*.py"):
        for name in imported(file.read_text(encoding="utf-8")):
            if name not in sys.stdlib_module_names and name != package.name:
                distribution = canonicalize_name(DISTRIBUTION_OF.get(name, name))
                found[distribution].add(str(file.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_what_a_distribution_imports_is_declared(folder: str) -> None:
    found = imported_by(ROOT / folder / DISTRIBUTIONS[folder])
    known = declared(folder) | OPTIONAL.get(folder, set())
    assert {name: files for name, files in found.items() if name not in known} == {}
    assert len(found) >= len(OPTIONAL.get(folder, set())) + 1  # something was read
