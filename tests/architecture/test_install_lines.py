"""A line that installs one of our projects installs those of ours that it needs: no index has them.

The description of the server's wheel is read in an index, and names the package there.
"""

import re
import tomllib
from pathlib import Path

import pytest

from support.documents import ROOT, command_lines, inline_commands

PROJECTS = {"diptych": "server", "diptych-training": "training", "diptych-client": "clients/python"}
FROM_THE_INDEX = (Path("server/README.md"), ["pip", "install", "diptych[cpu,everyday]"])
FOLDERS = {folder: name for name, folder in PROJECTS.items()}
LINES = [
    (readme.relative_to(ROOT), words)
    for readme, words in (*command_lines(("pip",)), *inline_commands("pip install"))
    if words[1] == "install" and not any("dist/" in word for word in words)  # wheels that were built
    if (readme.relative_to(ROOT), words) != FROM_THE_INDEX
]


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match[0]


def needed_by(project: str) -> set[str]:
    """Our projects that this one cannot be installed without, itself included."""
    file = ROOT / PROJECTS[project] / "pyproject.toml"
    requirements = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
    ours = {name_of(requirement) for requirement in requirements} & PROJECTS.keys()
    return {project}.union(*(needed_by(name) for name in ours))


def installed_by(words: list[str]) -> set[str]:
    """Our projects whose folders the line names. Any of our names that is not a folder is an error."""
    targets = [word.partition("[")[0] for word in words[2:] if not word.startswith("-")]
    assert [target for target in targets if target in PROJECTS and target not in FOLDERS] == []
    return {FOLDERS[target] for target in targets if target in FOLDERS}


def test_every_readme_of_a_project_says_how_to_install_it() -> None:
    said = {readme.parent.as_posix() for readme, _ in LINES}
    assert set(FOLDERS) <= said


@pytest.mark.parametrize(("readme", "words"), LINES)
def test_install_line_names_every_project_of_ours_that_it_needs(readme: Path, words: list[str]) -> None:
    installed = installed_by(words)
    assert installed, f"{readme}: {' '.join(words)} installs nothing of ours"
    needed = set[str]().union(*(needed_by(project) for project in installed))
    assert needed - installed == set(), f"{readme}: {' '.join(words)}"


def test_line_that_comes_to_cuda_beside_training_brings_back_the_runtime_that_training_lies_over() -> None:
    """Both builds of it are one folder, and `training` asks for the other one."""
    lines = [words for readme, words in command_lines(("pip",)) if ".venv-gpu" in words[0]]
    asked, removed, again = lines
    assert {"training", "server[gpu,tensorrt]"} <= {*asked}
    assert {*removed[2:]} == {"-y", "onnxruntime", "onnxruntime-gpu"}
    assert again[1:] == ["install", "-e", "clients/python", "-e", "server[gpu]"]


def test_training_needs_the_server_and_the_server_the_client() -> None:
    assert needed_by("diptych-training") == set(PROJECTS)
    assert needed_by("diptych") == {"diptych", "diptych-client"}
    assert needed_by("diptych-client") == {"diptych-client"}
