"""Run a command of `diptych` in this process against an API in memory; knows nothing of a real server."""

from collections.abc import Callable
from types import ModuleType

import pytest

from diptych.cli import main, remote
from diptych_client import Client
from support.fake_api import FakeApi

RunCommand = Callable[..., int]


def command_runner(command: ModuleType, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """`run("--flag", path, ...)` -> exit code, of one command module whose client speaks to `api`."""

    def client(url: str, api_key: str | None, timeout_s: float) -> Client:
        return Client(url, api_key, timeout_s, transport=api.transport())

    monkeypatch.setattr(remote, "Client", client)
    name = command.__name__.rpartition(".")[2]

    def run(*arguments: object) -> int:
        return main([name, *map(str, arguments)])

    return run
