"""Readiness covers every loaded precision."""

import asyncio
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.errors import EncoderFailed
from diptych.wiring.pipeline import health_of
from unit.core.core_fakes import IDLE_ENCODER, model_info


def pipeline(*, broken: bool = False, last_success_at: float | None = None, problem: str = "") -> Any:
    def canary(on_start: Any) -> None:
        if broken:
            raise RuntimeError

    batchers: Any = (SimpleNamespace(last_success_at=last_success_at, problem=problem),) * 2
    canaries = (canary, canary)
    return EncoderPipeline(model_info(), SimpleNamespace(), canaries, batchers, 60, IDLE_ENCODER)  # type: ignore[arg-type]


def ready(*pipelines: EncoderPipeline) -> bool:
    async def run() -> bool:
        health = health_of(lambda: pipelines, print)
        await health.start()
        report = health.report()
        await health.close()
        return report.ready

    return asyncio.run(run())


def test_canary_of_either_precision_decides() -> None:
    assert ready(pipeline(), pipeline())
    assert not ready(pipeline(), pipeline(broken=True))
    assert not ready(pipeline(broken=True), pipeline())


def test_hanging_call_of_either_precision_decides() -> None:
    assert not ready(pipeline(), pipeline(problem="the text encoder hangs"))


def test_batches_prove_health_only_after_every_encoder_had_one() -> None:
    now = time.monotonic()
    pipelines = [pipeline(last_success_at=now - 1000), pipeline(last_success_at=now)]
    health = health_of(lambda: pipelines, print)
    age_s = health.report().canary_age_s
    assert age_s is not None
    assert age_s >= 1000
    pipelines.append(pipeline())  # one that has just been loaded
    assert health.report().canary_age_s is None


def test_canary_of_a_pipeline_closed_meanwhile_is_ignored() -> None:
    loaded: list[EncoderPipeline] = [pipeline()]

    def closed(on_start: Any) -> None:
        del loaded[1:]
        raise EncoderFailed("the encoder was closed")

    loaded.append(replace(pipeline(), canaries=(closed, closed)))

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
    assert ready(replace(pipeline(), batchers=batchers, canaries=canaries))
    assert seen == asked


def test_canary_runs_for_a_tower_without_success_though_the_other_succeeds() -> None:
    def broken(on_start: Any) -> None:
        raise RuntimeError

    batchers: Any = (
        SimpleNamespace(last_success_at=None, problem=""),
        SimpleNamespace(last_success_at=time.monotonic(), problem=""),
    )
    assert not ready(replace(pipeline(), batchers=batchers, canaries=(broken, lambda on_start: None)))
