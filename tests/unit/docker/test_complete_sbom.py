"""Additions to the bill of materials and the licences; missing packages are an error."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def complete_sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("complete_sbom", ROOT / "docker" / "complete_sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Files:
    """The output of the tools for an image with two packages, one without a licence in its metadata."""

    def __init__(self, folder: Path, *, components: tuple[str, ...], licences: tuple[str, ...]) -> None:
        self.sbom, self.licences = folder / "sbom.json", folder / "licences.json"
        self.report, self.list = folder / "report.json", folder / "list.md"
        write(self.sbom, {
            "metadata": {"component": {"bom-ref": "root"}},
            "components": [{"name": name, "version": "1"} for name in components],
            "dependencies": [{"ref": "root", "dependsOn": ["zeta"]}],
        })  # fmt: skip
        write(self.licences, [{"Name": name, "Version": "1", "License": f"L {name}"} for name in licences])
        write(self.report, {"install": [installed("Beta_b", "bb"), installed("alpha", "aa")]})

    def arguments(self) -> tuple[Path, Path, Path, Path]:
        return self.sbom, self.licences, self.report, self.list


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def installed(name: str, sha256: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "version": "1"},
        "download_info": {
            "url": f"file:///somewhere/{name}-1-py3-none-any.whl",
            "archive_info": {"hashes": {"sha256": sha256}},
        },
    }


def test_hashes_licences_and_vendored_files_are_added(complete_sbom: ModuleType, tmp_path: Path) -> None:
    files = Files(tmp_path, components=("alpha", "beta-b"), licences=("Beta_b", "alpha", "ours"))
    complete_sbom.main(*files.arguments())
    sbom = json.loads(files.sbom.read_text())
    alpha, beta, swagger, *others = sbom["components"]
    assert [one["hashes"][0]["content"] for one in (alpha, beta)] == ["aa", "bb"]
    assert alpha["properties"] == [{"name": "diptych:archive", "value": "alpha-1-py3-none-any.whl"}]
    assert beta["licenses"] == [{"license": {"name": "L Beta_b"}}]
    assert (swagger["name"], swagger["purl"]) == (
        "swagger-ui-dist",
        f"pkg:npm/swagger-ui-dist@{swagger['version']}",
    )
    assert [one["name"] for one in swagger["components"]] == ["swagger-ui-bundle.js", "swagger-ui.css"]
    assert [one["name"] for one in others] == ["preact", "htm"]
    references = [one["bom-ref"] for one in (swagger, *others)]
    assert sbom["dependencies"][0]["dependsOn"] == sorted(["zeta", *references])
    names = re.findall(r"^\| ([\w-]+) \| \d", files.list.read_text(), re.MULTILINE)
    assert names == ["alpha", "Beta_b", "htm", "ours", "preact", "swagger-ui-dist"]


@pytest.mark.parametrize(
    ("components", "licences", "said"),
    [
        (("alpha",), ("alpha", "beta-b"), "the bill of materials lacks what the lock installs: beta-b"),
        (("alpha", "beta-b"), ("alpha",), "the list of licences lacks what the lock installs: beta-b"),
    ],
)
def test_package_that_a_tool_leaves_out_is_an_error(
    complete_sbom: ModuleType,
    tmp_path: Path,
    components: tuple[str, ...],
    licences: tuple[str, ...],
    said: str,
) -> None:
    files = Files(tmp_path, components=components, licences=licences)
    with pytest.raises(SystemExit, match=said):
        complete_sbom.main(*files.arguments())
