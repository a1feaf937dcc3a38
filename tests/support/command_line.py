"""Run a command of `diptych` in this process against the fake API."""

from collections.abc import Callable
from types import ModuleType

import pytest

from diptych.cli import main, remote
from diptych_client import Client
from support.fake_api import FakeApi

RunCommand = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def command_runner(command: ModuleType, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Return `run("--flag", path, ...)`: it runs a command with a client of `api`, returns its exit code."""

    def client(url: str, api_key: str | None, timeout_s: float) -> Client:
        return Client(url, api_key, timeout_s, transport=api.transport())

    monkeypatch.setattr(remote, "Client", client)
    name = command.__name__.rpartition(".")[2]

    def run(*arguments: object) -> int:
        return main([name, *map(str, arguments)])

    return run
