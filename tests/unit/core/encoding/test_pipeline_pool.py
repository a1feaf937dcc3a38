"""Pipelines that are loaded for the first collection that asks for them, and closed after the last."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.types import SERVER
from diptych.errors import GoldenMismatch, InvalidValue, NotReady
from unit.core.core_fakes import IDLE_ENCODER, FakeEncoder, fake_embedder, model_info, until

Story = Callable[["Parts"], Coroutine[Any, Any, None]]


def pipeline(
    precision: str, encoder: SwappableEncoder = IDLE_ENCODER, decode: DecodeMode = "exact"
) -> EncoderPipeline:
    embedder = fake_embedder(FakeEncoder())
    return EncoderPipeline(
        model_info(precision=precision, decode=decode),
        embedder,
        (lambda on_start: None,) * 2,
        (),
        60,
        encoder,
    )  # type: ignore[arg-type]


class Parts:
    """A pool with int8 for requests and fp32 for collections, and further precisions that `gate` holds up."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.opened: list[tuple[str, str, bool]] = []
        self.loaded: list[list[str]] = []
        self.broken = False
        self.encoder = IDLE_ENCODER  # of what is opened
        self.pipelines = PipelinePool(
            pipeline("int8"),
            pipeline("fp32"),
            precisions=("fp32", "fp16", "int8"),
            open=self.open,
        )
        self.pipelines.on_change(
            lambda pipelines: self.loaded.append([one.model.precision for one in pipelines])
        )

    def open(self, precision: str, decode: DecodeMode, at_start: bool) -> EncoderPipeline:
        self.opened.append((precision, decode, at_start))
        assert self.gate.wait(10)
        if self.broken:
            raise GoldenMismatch("golden image 1: cosine is 0.5")
        return pipeline(precision, self.encoder, decode)

    async def is_closed(self, one: EncoderPipeline) -> bool:
        try:
            await one.embedder.embed_text("a")
        except NotReady:
            return True
        return False


def run(story: Story) -> None:
    async def whole() -> None:
        parts = Parts()
        await story(parts)
        await parts.pipelines.close()

    asyncio.run(whole())


def test_precisions_of_requests_and_collections_are_shared_and_stay() -> None:
    async def story(parts: Parts) -> None:
        pipelines = parts.pipelines
        assert await pipelines.acquire(SERVER) is await pipelines.acquire("fp32") is pipelines.for_collections
        int8 = await pipelines.acquire("int8")
        assert int8 is pipelines.for_requests
        for _ in range(3):
            pipelines.release(int8)
        with pipelines.hold(pipelines.for_collections):
            pass
        assert not await parts.is_closed(int8)
        assert parts.opened == []
        assert parts.loaded == [["fp32", "int8"]]

    run(story)


def test_further_precision_is_loaded_once_for_all_that_ask_at_the_same_time() -> None:
    async def story(parts: Parts) -> None:
        parts.gate.clear()
        asking = [asyncio.create_task(parts.pipelines.acquire("fp16", at_start=True)) for _ in range(3)]
        await until(lambda: bool(parts.opened))
        assert parts.pipelines.loaded() == [parts.pipelines.for_collections, parts.pipelines.for_requests]
        parts.gate.set()
        first, *others = await asyncio.gather(*asking)
        assert [one is first for one in others] == [True, True]
        assert parts.opened == [("fp16", "exact", True)]
        await until(lambda: parts.loaded[-1] == ["fp32", "int8", "fp16"])

    run(story)


def test_further_precision_is_closed_with_its_last_user_and_not_before() -> None:
    async def story(parts: Parts) -> None:
        first, second = await parts.pipelines.acquire("fp16"), await parts.pipelines.acquire("fp16")
        parts.pipelines.release(first)
        assert not await parts.is_closed(first)
        with parts.pipelines.hold(first):
            parts.pipelines.release(second)
            await asyncio.sleep(0.01)
            assert not await parts.is_closed(first)
        await until(lambda: parts.loaded[-1] == ["fp32", "int8"])
        assert await parts.is_closed(first)
        again = await parts.pipelines.acquire("fp16")
        assert again is not first
        assert not await parts.is_closed(again)

    run(story)


def test_other_decode_mode_of_a_precision_is_a_pipeline_of_its_own() -> None:
    async def story(parts: Parts) -> None:
        pipelines = parts.pipelines
        fast = await pipelines.acquire("fp32", decode="fast")
        assert fast.model.decode == "fast"
        assert await pipelines.acquire("fp32", decode="exact") is pipelines.for_collections
        with pipelines.hold(fast):
            pipelines.release(fast)
            assert not await parts.is_closed(fast)
        await until(lambda: parts.loaded[-1] == ["fp32", "int8"])
        assert await parts.is_closed(fast)
        assert not await parts.is_closed(pipelines.for_collections)

    run(story)


def test_precision_that_cannot_be_loaded_says_why_to_all_and_is_tried_again() -> None:
    async def story(parts: Parts) -> None:
        parts.broken = True
        asked = await asyncio.gather(
            *(parts.pipelines.acquire("fp16") for _ in range(2)), return_exceptions=True
        )
        for error in asked:
            assert isinstance(error, InvalidValue)
            assert str(error) == (
                "precision: precision fp16 of fake/1 cannot be served here: golden image 1: cosine is 0.5"
            )
        parts.broken = False
        assert (await parts.pipelines.acquire("fp16")).model.precision == "fp16"
        assert len(parts.opened) == 2

    run(story)


def test_unknown_precision_is_refused_naming_those_there_are() -> None:
    async def story(parts: Parts) -> None:
        with pytest.raises(
            InvalidValue, match="fake/1 has no precision 'int4', only fp32, fp16, int8; 'server' means"
        ):
            await parts.pipelines.acquire("int4")

    run(story)


def test_precision_that_nobody_waits_for_any_more_is_closed_once_it_is_loaded() -> None:
    async def story(parts: Parts) -> None:
        parts.gate.clear()
        asking = asyncio.create_task(parts.pipelines.acquire("fp16"))
        await until(lambda: bool(parts.opened))
        asking.cancel()
        await asyncio.wait([asking])
        parts.gate.set()
        fresh = await parts.pipelines.acquire("fp16")
        assert len(parts.opened) == 2
        assert not await parts.is_closed(fresh)
        await until(lambda: parts.loaded[-1] == ["fp32", "int8", "fp16"])

    run(story)


def test_stop_while_a_precision_is_loaded_fails_who_waits_and_closes_all() -> None:
    async def story(parts: Parts) -> None:
        fp16 = await parts.pipelines.acquire("fp16")
        await parts.pipelines.close()
        assert await parts.is_closed(fp16)
        assert await parts.is_closed(parts.pipelines.for_collections)
        with pytest.raises(NotReady, match="stopping"):
            await parts.pipelines.acquire("fp16")

    run(story)


def test_precision_that_is_loaded_only_after_the_stop_is_closed_then() -> None:
    closed = list[str]()

    async def story() -> None:
        parts, encoder = (
            Parts(),
            SwappableEncoder(IDLE_ENCODER, IDLE_ENCODER.running, lambda: closed.append("fp16")),
        )
        parts.encoder = encoder
        parts.gate.clear()
        asking = asyncio.create_task(parts.pipelines.acquire("fp16"))
        await until(lambda: bool(parts.opened))
        await parts.pipelines.close()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert closed == []
        parts.gate.set()

    asyncio.run(story())  # which waits for its threads
    assert closed == ["fp16"]
