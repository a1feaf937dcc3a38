"""The JavaScript client is built and packed with npm, as a developer and a user do."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.documents import ROOT
from support.node import CLIENT, PAGE_CLIENT, needs_node, run_node

pytestmark = [
    pytest.mark.long,
    needs_node,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
]


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a clone that the client is made from, with what npm installs."""
    clone = tmp_path_factory.mktemp("clone")
    leave = shutil.ignore_patterns("node_modules", "dist", "schema.ts")
    shutil.copytree(CLIENT, clone / "clients" / "js", ignore=leave)
    (clone / "server").mkdir()
    shutil.copy(ROOT / "server" / "openapi.json", clone / "server")
    run("npm", "ci", cwd=clone / "clients" / "js")
    run("npm", "run", "refresh", cwd=clone / "clients" / "js")
    return clone


def test_what_is_committed_is_what_the_sources_make(clone: Path) -> None:
    made = clone / PAGE_CLIENT.relative_to(ROOT)
    assert contents(made) == contents(PAGE_CLIENT)
    schema = Path("clients/js/src/schema.ts")
    assert (clone / schema).read_text(encoding="utf-8") == (ROOT / schema).read_text(encoding="utf-8")


def test_packed_client_has_types_and_runs(clone: Path, tmp_path: Path) -> None:
    client = clone / "clients" / "js"
    packed = json.loads(run("npm", "pack", "--json", "--pack-destination", str(tmp_path), cwd=client))[0]
    names = {file["path"] for file in packed["files"]}
    assert {"README.md", "dist/index.js", "dist/index.d.ts", "dist/node.js", "dist/schema.d.ts"} <= names
    assert not any(name.startswith(("src/", "test/")) for name in names)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run("npm", "install", str(tmp_path / packed["filename"]), cwd=tmp_path)
    shutil.copy(client / "test" / "usage.ts", tmp_path)
    compiler = client / "node_modules" / ".bin" / "tsc"
    options = ["--strict", "--noEmit", "--target", "ES2022", "--lib", "ES2022,DOM,DOM.AsyncIterable"]
    for module in ("NodeNext", "Preserve"):
        run(str(compiler), *options, "--module", module, "usage.ts", cwd=tmp_path)
    shown = run_node(
        "-e", "import('diptych-client').then(({ Client }) => console.log(new Client().url))", cwd=tmp_path
    )
    assert shown.stdout == "http://127.0.0.1:8000/\n", shown.stderr


def test_tests_pass_with_the_packed_modules(clone: Path) -> None:
    client = clone / "clients" / "js"
    run("npm", "run", "build", cwd=client)
    done = run_node("--test", "test/faults.test.js", cwd=CLIENT, TEST_CLIENT=str(client / "dist"))
    assert done.returncode == 0, done.stdout + done.stderr
