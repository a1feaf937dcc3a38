"""The table of docs/http-api.md has every call of the API, and the method of the client that makes it."""

import inspect
import json
import re

from diptych_client import Client
from support.documents import DOCS, ROOT

PATHS = json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))["paths"]
PAGE = (DOCS / "http-api.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| call | does | client |\n")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| (`.*?) \| .* \| (.*?) ?\|$", TABLE, re.MULTILINE)


def documented_calls() -> list[str]:
    """Every call of the table, such as `GET /jobs/{job}`; a row may have several methods of a path."""
    cells = [item.rsplit(" ", 1) for calls, _ in ROWS for item in re.findall("`([^`]+)`", calls)]
    return [f"{method} {path}" for methods, path in cells for method in methods.split(", ")]


def test_table_has_every_call_once() -> None:
    described = [f"{method.upper()} {path}" for path, methods in PATHS.items() for method in methods]
    assert sorted(documented_calls()) == sorted(described)


def test_table_has_every_method_of_the_client_once() -> None:
    methods = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
    documented = [name for _, names in ROWS for name in re.findall(r"`(\w+)`", names)]
    assert sorted(documented) == sorted({*methods} - {"run", "close"})
