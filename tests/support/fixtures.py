"""Makers of fixtures that many test files define with other arguments.

client = client_fixture(max_items=3)                                     # of the app with these settings
model_repo = model_repo_fixture({}, {"seed": 1})                         # with `tiny/1` and `tiny/2`
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.tiny_bundle import write_tiny_bundle


def client_fixture(**settings: Any) -> Any:
    """Return a module-scoped fixture: a client of one ready app with these settings."""

    @pytest.fixture(scope="module")
    def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
        with running_app(tmp_path_factory.mktemp("app"), **settings) as client:
            yield client

    return client


def model_repo_fixture(*bundles: Mapping[str, Any]) -> Any:
    """Return a module-scoped fixture: a model repository with one tiny bundle for each set of arguments."""

    @pytest.fixture(scope="module")
    def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("model_repo")
        for arguments in bundles:
            write_tiny_bundle(folder, **arguments)
        return folder

    return model_repo
