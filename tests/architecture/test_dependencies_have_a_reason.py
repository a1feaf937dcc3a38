"""Every direct dependency stands in DEPENDENCIES.md with its reason, and nothing else does."""

import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.environments import PACKAGES as RIVALS
from support.projects import OURS, project

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([\w./ -]+) \| (.+) \|$", (ROOT / "DEPENDENCIES.md").read_text(encoding="utf-8"), re.M
)
HEADS = {"package", "Debian package", "image"}


def rows_under(head: str) -> list[tuple[str, str]]:
    """Name and reason of each, in all tables that begin with this word."""
    found, here = [], ""
    for name, reason in ROWS:
        if name in HEADS:
            here = name
        elif here == head:
            found.append((name, reason))
    return found


REASONS = {canonicalize_name(name): reason for name, reason in rows_under("package")}


def asked_for() -> set[str]:
    """By any of our projects, with all of their extras, and by what checks them."""
    lines: list[str] = []
    for folder in ("server", "training", "clients/python"):
        table = project(folder)
        lines += table["dependencies"]
        lines += [line for extra in table.get("optional-dependencies", {}).values() for line in extra]
    for file in ("tests/requirements.txt", "docker/tools.txt"):
        text = (ROOT / file).read_text(encoding="utf-8")
        lines += [line.partition("#")[0] for line in text.splitlines() if line.partition("#")[0].strip()]
    for folder in ("server", "training", "clients/python"):
        text = (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
        lines += tomllib.loads(text)["build-system"]["requires"]
    lines += json.loads((ROOT / "clients" / "js" / "package.json").read_text(encoding="utf-8"))[
        "devDependencies"
    ]
    # What only an image installs is asked for where it is locked.
    locked = re.findall(r"<<END\n(.*?)\nEND", (ROOT / "docker" / "lock.sh").read_text(), re.DOTALL)
    lines += [line for block in locked for line in block.splitlines() if not line.startswith("./")]
    lines += [line for some in RIVALS.values() for line in some]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {
        canonicalize_name(name) for name in OURS
    }


def test_every_dependency_has_a_reason() -> None:
    assert asked_for() - REASONS.keys() == set()
    assert [name for name, reason in REASONS.items() if len(reason) < 5] == []


def test_no_reason_is_left_of_what_is_gone() -> None:
    assert REASONS.keys() - asked_for() == set()


def test_programs_that_make_installs_and_images_that_are_fetched_have_a_reason() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = re.findall(r"apt-get install -y -qq ([^>]+) >", makefile)
    assert len(lines) == makefile.count("apt-get install")
    assert {name for name, _ in rows_under("Debian package")} == {
        name for line in lines for name in line.split()
    }
    files = [*ROOT.glob("docker/*.Dockerfile"), *ROOT.glob("docker*/*.yml"), ROOT / "docker-compose.yml"]
    fetched = {
        name
        for file in files
        for name in re.findall(r"(?:BASE=|image: )(docker\.io/[\w./-]+):", file.read_text(encoding="utf-8"))
    }
    assert {name for name, _ in rows_under("image")} == fetched
    assert min(len(reason) for _, reason in ROWS if reason != "reason") >= 5
