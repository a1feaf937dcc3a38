"""Complete the software bill of materials of the cpu image: `complete_sbom.py SBOM LICENCES REPORT LIST`.

Adds to SBOM (CycloneDX) the name and hash of each package's archive, licences that are missing in its
metadata, and the third-party files in our wheel that come from no package index. LICENCES is the output of
pip-licenses, LIST the table that is written from it. REPORT is pip's report of what it installed from the
lock: a package in it that SBOM or LICENCES lacks is an error that names it. Standard library only.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VENDORED = Path(__file__).parents[1] / "server" / "src" / "diptych" / "http" / "page" / "vendor"

ARCHIVE = "diptych:archive"  # property: name of the archive file, which has the Python and machine it is for

Described = dict[str, Any]


def main(sbom_file: Path, licences_file: Path, report_file: Path, list_file: Path) -> None:
    """Rewrite SBOM and write LIST. Raises SystemExit that names packages which the tools left out."""
    sbom = json.loads(sbom_file.read_text(encoding="utf-8"))
    licences = by_name(json.loads(licences_file.read_text(encoding="utf-8")), "Name")
    report = json.loads(report_file.read_text(encoding="utf-8"))["install"]
    archives = {normal(one["metadata"]["name"]): one["download_info"] for one in report}
    components = by_name(sbom["components"], "name")
    for what, described in (("the bill of materials", components), ("the list of licences", licences)):
        if missing := sorted(archives.keys() - described.keys()):
            sys.exit(f"{what} lacks what the lock installs: {', '.join(missing)}")
    for name, component in components.items():
        if name in archives:
            archive = archives[name]
            component["hashes"] = [{"alg": "SHA-256", "content": archive["archive_info"]["hashes"]["sha256"]}]
            component["properties"] = [{"name": ARCHIVE, "value": archive["url"].rpartition("/")[2]}]
        if not component.get("licenses"):
            component["licenses"] = [{"license": {"name": licences[name]["License"]}}]
    rows = [(one["Name"], one["Version"], one["License"]) for one in licences.values()]
    for vendored in vendored_components(VENDORED):
        add(sbom, vendored)
        rows.append((vendored["name"], vendored["version"], vendored["licenses"][0]["license"]["id"]))
    sbom_file.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
    list_file.write_text(table(rows), encoding="utf-8")


def vendored_components(folder: Path) -> list[Described]:
    """Describe the third-party files in our wheel: by their README, with hashes."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (\d[\d.]*) \| ([\w.-]+) \|", readme, re.MULTILINE)
    described = {name for name, _, _ in rows}
    found = {file.name for file in folder.iterdir() if file.is_dir()}
    assert described == found, f"{folder}/README.md describes {sorted(described)}, there are {sorted(found)}"
    return [_vendored_component(folder / name, version, licence) for name, version, licence in rows]


def _vendored_component(folder: Path, version: str, licence: str) -> Described:
    name = folder.name
    return {
        "type": "library",
        "bom-ref": f"{name}=={version}",
        "name": name,
        "version": version,
        "purl": f"pkg:npm/{name}@{version}",
        "licenses": [{"license": {"acknowledgement": "declared", "id": licence}}],
        "components": [
            {"type": "file", "name": file.name, "hashes": [{"alg": "SHA-256", "content": sha256_of(file)}]}
            for file in sorted(folder.iterdir())
            if file.suffix in {".js", ".css"}
        ],
    }


def add(sbom: Described, component: Described) -> None:
    """Add a component to the bill of materials, as a dependency of the server."""
    reference, root = component["bom-ref"], sbom["metadata"]["component"]["bom-ref"]
    sbom["components"].append(component)
    sbom["dependencies"].append({"ref": reference})
    (own,) = [one for one in sbom["dependencies"] if one["ref"] == root]
    own["dependsOn"] = sorted([*own.get("dependsOn", []), reference])


def table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return a Markdown table, sorted by name without regard to case."""
    lines = [
        f"| {name} | {version} | {licence} |" for name, version, licence in sorted(rows, key=_ignoring_case)
    ]
    return "\n".join(["| Name | Version | License |", "|---|---|---|", *lines, ""])


def by_name(described: list[Described], key: str) -> dict[str, Described]:
    """Return the entries by their normalised name, in order."""
    return {normal(one[key]): one for one in described}


def normal(name: str) -> str:
    """Normalise a name: `huggingface_hub` becomes `huggingface-hub`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _ignoring_case(row: tuple[str, str, str]) -> str:
    return row[0].lower()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
