"""Times of stages, for all and for each request."""

import asyncio

import pytest

from diptych.core.timing import Spans, begin_spans, end_spans, note, stage
from unit.core.core_fakes import FakeMetrics


def test_a_stage_lasts_from_its_first_beginning_to_its_last_end() -> None:
    spans = Spans()
    spans.add("decode", 2.0, 3.0)
    spans.add("queue", 3.0, 3.5)
    spans.add("decode", 1.0, 2.5)
    assert spans.seconds() == {"decode": 2.0, "queue": 0.5}


def test_stage_is_reported_to_all_and_noted_for_the_request_even_when_it_fails() -> None:
    metrics = FakeMetrics()

    spans = Spans()
    before = begin_spans(spans)
    with pytest.raises(KeyError), stage(metrics, "search"):
        raise KeyError
    end_spans(before)
    assert (metrics.stages, list(spans.seconds())) == ({"search": 1}, ["search"])


def test_requests_side_by_side_have_times_of_their_own_and_their_tasks_share_them() -> None:
    async def part(name: str, began: float) -> None:
        await asyncio.sleep(0)
        note("decode" if name == "a" else "fetch", began, began + 1)  # type: ignore[arg-type]

    async def request(name: str) -> Spans:
        spans = Spans()
        begin_spans(spans)
        await asyncio.gather(part(name, 1.0), part(name, 5.0))
        return spans

    async def scenario() -> list[Spans]:
        return list(
            await asyncio.gather(asyncio.create_task(request("a")), asyncio.create_task(request("b")))
        )

    first, second = asyncio.run(scenario())
    assert (first.seconds(), second.seconds()) == ({"decode": 5.0}, {"fetch": 5.0})
