"""`make sbom` has every package that the cpu image installs, by licence and hash. Needs the package index."""

import json
import platform
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from deployment.tools import DOCKER, ENVIRONMENT, run

IMAGE = (3, 13)  # its Python, as the base's name says
PLATFORMS = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(5, 42)]
PLATFORMS.append(f"manylinux2014_{platform.machine()}")
FITTING = {*cpython_tags(IMAGE, platforms=PLATFORMS), *compatible_tags(IMAGE, "cp313", PLATFORMS)}
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def installed_by(lock: Path) -> set[str]:
    """Names of what the lock installs here: markers leave out what is of other systems."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition(" --hash")[0].strip() for line in text.splitlines() if "==" in line]
    requirements = [Requirement(line) for line in lines]
    return {
        canonicalize_name(one.name) for one in requirements if one.marker is None or one.marker.evaluate()
    }


def test_bill_of_materials_and_licences_name_all_that_is_installed(tmp_path: Path) -> None:
    run(str(DOCKER / "sbom.sh"), ENVIRONMENT, sys.executable, tmp_path)
    vendored = {"swagger-ui-dist", "preact", "htm"}
    expected = installed_by(DOCKER / "server.cpu.lock") | vendored | {"diptych-client"}
    listed = (tmp_path / "licences.server.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+)\s+\| \S+\s+\| (.+) \|$", listed, re.MULTILINE)
    named = {canonicalize_name(name): licence for name, licence in rows if name != "Name"}
    assert named.keys() == expected | {"diptych"}
    assert [name for name, licence in named.items() if licence.strip() in {"", "UNKNOWN"}] == []
    sbom = json.loads((tmp_path / "sbom.server.cdx.json").read_text(encoding="utf-8"))
    components = {canonicalize_name(one["name"]): one for one in sbom["components"]}
    assert components.keys() == expected
    assert [name for name, one in components.items() if not one["licenses"]] == []
    # Ours has no archive; the foreign files have a hash each.
    unhashed = {name for name, one in components.items() if "hashes" not in one}
    assert unhashed == {"diptych-client"} | vendored
    assert all(file["hashes"] for name in vendored for file in components[name]["components"])
    # Archives of the image's Python, whichever Python runs these tests, by the hashes that the lock has.
    archives = {
        name: one["properties"][0]["value"] for name, one in components.items() if name not in unhashed
    }
    assert sum("-cp313-cp313-" in archive for archive in archives.values()) >= 5
    assert [one for one in archives.values() if not parse_wheel_filename(one)[3] & FITTING] == []
    lock = (DOCKER / "server.cpu.lock").read_text(encoding="utf-8")
    hashes = {one["hashes"][0]["content"] for name, one in components.items() if name in archives}
    assert {one for one in hashes if f"--hash=sha256:{one}" not in lock} == set()
