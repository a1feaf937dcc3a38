"""hadolint finds nothing in the Dockerfiles."""

from pathlib import Path

import pytest

from deployment.tools import DOCKER, run


@pytest.mark.parametrize("file", sorted(DOCKER.glob("*.Dockerfile")), ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    assert run("hadolint", file) == ""
