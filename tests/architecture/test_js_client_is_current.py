"""What is made from the JavaScript client's sources and from the description of the API is current.

The digests make this known without npm. `test_js_client_build.py` makes the files again and compares them.
"""

import inspect
import json
import re
from hashlib import sha256

import diptych
import diptych_client
import diptych_training
from diptych_client import Client
from support.documents import DOCS, ROOT
from support.node import CLIENT, PAGE_CLIENT
from support.projects import project

REFRESH = "refresh it: make generated"
SCHEMA = CLIENT / "src" / "schema.ts"
PACKAGE = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
MADE = json.loads((PAGE_CLIENT / "package.json").read_text(encoding="utf-8"))


def test_types_are_those_of_the_committed_description() -> None:
    first_line = SCHEMA.read_text(encoding="utf-8").partition("\n")[0]
    digest = sha256((ROOT / "server" / "openapi.json").read_bytes()).hexdigest()
    assert first_line.endswith(f" sha256 {digest}"), REFRESH


def test_modules_of_the_page_are_made_from_the_sources() -> None:
    sources = sorted(file for file in (CLIENT / "src").iterdir() if file != SCHEMA)
    content = b"".join(file.read_bytes() for file in (CLIENT / "tsconfig.json", *sources))
    assert sha256(content).hexdigest() == MADE["sources_sha256"], REFRESH
    modules = {f"{file.stem}.js" for file in sources if not file.name.endswith(".d.ts")} - {"types.js"}
    assert {file.name for file in PAGE_CLIENT.iterdir()} == modules | {"package.json"}, REFRESH


def test_all_packages_have_one_version() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text(encoding="utf-8"))
    description = json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))
    versions = {
        **{folder: project(folder)["version"] for folder in ("server", "training", "clients/python")},
        **{module.__name__: module.__version__ for module in (diptych, diptych_training, diptych_client)},
        "package.json": PACKAGE["version"],
        "package-lock.json": lock["version"],
        "package-lock.json, packages": lock["packages"][""]["version"],
        "the page's package.json": MADE["version"],
        "openapi.json": description["info"]["version"],
    }
    assert set(versions.values()) == {diptych.__version__}, versions


def test_lock_file_names_no_registry() -> None:
    packages = json.loads((CLIENT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []


def methods() -> set[str]:
    """The public methods of the class `Client` in `client.ts`."""
    text = (CLIENT / "src" / "client.ts").read_text(encoding="utf-8").split("export class Client {")[1]
    private = set(re.findall(r"^  private (?:async )?(\w+)", text, re.MULTILINE))
    return set(re.findall(r"^  (?:async )?\*?(\w+)[(<]", text, re.MULTILINE)) - private - {"constructor"}


def python_calls() -> set[str]:
    """The calls of the Python client, in camel case."""
    calls = {name for name, _ in inspect.getmembers(Client, callable) if not name.startswith("_")}
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in calls - {"close", "run"}}


def test_every_call_of_the_python_client_is_there() -> None:
    assert python_calls() - methods() == set()


def test_every_call_is_documented() -> None:
    """Those that the Python client has too are in the table of docs/http-api.md."""
    page = (DOCS / "javascript-client.md").read_text(encoding="utf-8")
    others = methods() - python_calls()
    assert {name for name in others if not re.search(rf"`{name}\b", page)} == set()
