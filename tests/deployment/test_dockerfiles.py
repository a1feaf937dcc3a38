"""hadolint finds nothing in the Dockerfiles."""

from pathlib import Path

import pytest

from deployment.tools import DOCKER, run


@pytest.mark.parametrize("file", sorted(DOCKER.glob("*.Dockerfile")), ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    assert run("hadolint", file) == ""


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM debian:latest\nRUN cd /tmp && apt-get install curl\n")
    assert "DL3007" in run("hadolint", wrong, code=1)
