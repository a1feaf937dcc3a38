"""Tests state what users and callers see: they reach into no private attribute of the product."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = {str(file.relative_to(TESTS)): file for file in sorted(TESTS.rglob("*.py"))}
OF_OTHERS = {  # names with an underscore that other libraries tell to use, or that have no public way
    "_exit", "_replace", "_asdict", "_SubParsersAction", "_actions", "_option_string_actions", "_dynamo",
    "_compute_resized_output_size", "_prepare", "_tokenize", "_model", "_model_to_module", "_registry",
    "_python_dispatch", "_ortvalue",
}  # fmt: skip
NOT_YET: set[str] = set()


def private_names(tree: ast.AST) -> Iterator[str]:
    """Attributes and imports that begin with one underscore, but for those of `self` and `cls`."""
    nodes = sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0))
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
                yield f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diptych"):
            yield from (f"line {node.lineno}: {one.name}" for one in node.names if is_private(one.name))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_OTHERS


def test_private_names_are_found() -> None:
    code = "from diptych.core import _x, y\nself._a\nself.b._c\na._d.e\na.__dict__\nnamed._replace(a=1)\n"
    assert [one.partition(": ")[2] for one in private_names(ast.parse(code))] == ["_x", "_c", "_d"]


def test_tests_use_public_names() -> None:
    found = {name: names for name in FILES if (names := private_names_in(name))}
    assert {name: names for name, names in found.items() if name not in NOT_YET} == {}
    assert sorted(NOT_YET - found.keys()) == [], "mended: no longer to be listed"


def private_names_in(name: str) -> list[str]:
    return list(private_names(ast.parse(FILES[name].read_text(encoding="utf-8"))))
