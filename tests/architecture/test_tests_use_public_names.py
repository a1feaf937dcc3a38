"""Tests state what users and callers see: they reach into no private attribute of the product."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = {str(file.relative_to(TESTS)): file for file in sorted(TESTS.rglob("*.py"))}
OF_OTHERS = {  # names with an underscore that other libraries tell to use, or that have no public way
    "_exit", "_replace", "_asdict", "_SubParsersAction", "_actions", "_option_string_actions", "_dynamo",
    "_compute_resized_output_size", "_prepare", "_tokenize", "_model", "_model_to_module", "_registry",
    "_python_dispatch", "_ortvalue", "_api",
}  # fmt: skip
BY_NAME = {"getattr", "setattr", "delattr", "patch", "object"}  # calls that take the name of an attribute


def private_names(tree: ast.AST) -> Iterator[str]:
    """Attributes and imports that begin with one underscore, but for those of `self` and `cls`."""
    nodes = sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0))
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            yield f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diptych"):
            yield from (f"line {node.lineno}: {one.name}" for one in node.names if is_private(one.name))
        elif isinstance(node, ast.Call) and called(node) in BY_NAME and not is_own(*node.args[:1]):
            texts = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
            yield from (f"line {node.lineno}: {name}" for name in names if is_private(name))


def is_own(*values: ast.AST) -> bool:
    return any(isinstance(value, ast.Name) and value.id in {"self", "cls"} for value in values)


def called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_OTHERS


def test_private_names_are_found() -> None:
    code = "from diptych.core import _x, y\nself._a\nself.b._c\na._d.e\na.__dict__\nnamed._replace(a=1)\n"
    code += "patch.setattr(a, '_f', 1)\npatch('diptych.a._g')\ngetattr(self, '_h')\nset('_i')\n"
    found = [one.partition(": ")[2] for one in private_names(ast.parse(code))]
    assert found == ["_x", "_c", "_d", "_f", "_g"]


def test_tests_use_public_names() -> None:
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}
    assert {name: found for name, tree in trees.items() if (found := list(private_names(tree)))} == {}
