"""Run the whole application with the tiny bundle in the process of the test, without a socket."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.options import HttpOptions
from diptych.settings import Settings
from diptych.wiring.assemble import limits_of
from diptych.wiring.keys import open_keys
from diptych.wiring.services import load
from support.tiny_bundle import TINY, write_tiny_bundle

READY_WITHIN_S = 60
FIXED_PLAN = {"n_threads": 1, "n_lanes": 1, "max_batch_size": 16}  # nothing to measure
CONSTANT_LIMITS = {field.name for field in fields(Limits)} - Settings.model_fields.keys()


@contextmanager
def running_app(
    folder: Path,
    *,
    change: Callable[[Services], Services] = lambda services: services,
    **given: Any,
) -> Iterator[TestClient]:
    """Yield a client of a ready app with model repository and data in `folder`.

    `given` are settings and constant limits. `change` may replace parts of the services.
    """
    if not (folder / "model_repo").exists():
        write_tiny_bundle(folder / "model_repo")
    places = {"model_repo": folder / "model_repo", "model": TINY, "data_dir": folder / "data"}
    constants = {name: given.pop(name) for name in CONSTANT_LIMITS & given.keys()}
    settings = Settings(**{**FIXED_PLAN, **places, **given})
    limits = replace(limits_of(settings), **constants)
    options = HttpOptions(
        allowed_hosts=settings.allowed_hosts,
        default_collection=settings.default_collection,
        read_only=settings.read_only,
        limits=limits,
    )
    failures: list[BaseException] = []

    async def load_changed() -> Services:
        return change(await load(settings, limits=limits))

    app = create_app(load_changed, options, accepted_keys=open_keys(settings), on_failure=failures.append)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        wait_until_ready(client, failures)
        yield client


def wait_until_ready(client: TestClient, failures: list[BaseException]) -> None:
    """Poll /readyz until it is ready. Raises the error that kept the app from loading."""
    deadline = time.monotonic() + READY_WITHIN_S
    while client.get("/readyz").status_code != 200:
        if failures:
            raise failures[0]
        assert time.monotonic() < deadline, "the app is not ready"
        time.sleep(0.02)
