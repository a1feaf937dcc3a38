"""Readiness covers every loaded version."""

import asyncio
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.core.serving.version import Version
from diptych.errors import EncoderFailed
from diptych.wiring.version import health_of
from unit.core.version_fakes import ONE, Loads


def version(*, broken: bool = False, last_success_at: float | None = None, problem: str = "") -> Any:
    def canary(on_start: Any) -> None:
        if broken:
            raise RuntimeError

    batchers: Any = (SimpleNamespace(last_success_at=last_success_at, problem=problem),) * 2
    canaries = (canary, canary)
    return replace(Loads()(ONE), canaries=canaries, batchers=batchers)


def ready(*versions: Version) -> bool:
    async def run() -> bool:
        health = health_of(lambda: versions, print)
        await health.start()
        report = health.report()
        await health.close()
        return report.ready

    return asyncio.run(run())


def test_canary_of_either_version_decides() -> None:
    assert ready(version(), version())
    assert not ready(version(), version(broken=True))
    assert not ready(version(broken=True), version())


def test_hanging_call_of_either_version_decides() -> None:
    assert not ready(version(), version(problem="the text encoder hangs"))


def test_batches_prove_health_only_after_every_encoder_had_one() -> None:
    now = time.monotonic()
    versions = [version(last_success_at=now - 1000), version(last_success_at=now)]
    health = health_of(lambda: versions, print)
    age_s = health.report().canary_age_s
    assert age_s is not None
    assert age_s >= 1000
    versions.append(version())  # one that has just been loaded
    assert health.report().canary_age_s is None


def test_canary_of_a_version_closed_meanwhile_is_ignored() -> None:
    loaded: list[Version] = [version()]

    def closed(on_start: Any) -> None:
        del loaded[1:]
        raise EncoderFailed("the encoder was closed")

    loaded.append(replace(version(), canaries=(closed, closed)))

    async def run() -> bool:
        health = health_of(lambda: tuple(loaded), print)
        await health.start()
        report = health.report()
        await health.close()
        return report.ready

    assert asyncio.run(run())


@pytest.mark.parametrize(
    ("ages_s", "asked"),
    [
        ((None, None), ["image", "text"]),
        ((1.0, None), ["text"]),  # while images alone come
        ((None, 1.0), ["image"]),
        ((1.0, 60.0), ["text"]),
        ((60.0, 60.0), ["image", "text"]),
    ],
)
def test_canary_runs_only_for_towers_without_a_recent_success(
    ages_s: tuple[float | None, float | None], asked: list[str]
) -> None:
    now, seen = time.monotonic(), list[str]()
    batchers: Any = tuple(
        SimpleNamespace(last_success_at=None if age_s is None else now - age_s, problem="")
        for age_s in ages_s
    )
    canaries = tuple(partial(lambda name, on_start: seen.append(name), name) for name in ("image", "text"))
    assert ready(replace(version(), batchers=batchers, canaries=canaries))
    assert seen == asked
