import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from diptych.core.concurrency.admission import Admission
from diptych.core.encoding.embed import raise_first
from diptych.core.encoding.embedder import Embedder
from diptych.errors import EncoderFailed, InvalidValue, NotReady, Overloaded, TooLarge, UndecodableImage
from unit.core.core_fakes import (
    FakeDecoder,
    FakeEncoder,
    FakeMetrics,
    FakeTokenizer,
    fake_embedder,
    unit_vector,
    until,
)


async def test_bad_image_is_its_own_outcome_and_the_others_keep_their_order() -> None:
    outcomes = await fake_embedder(FakeEncoder()).embed_images([b"A", b"bad", b"B"])
    assert np.array_equal(outcomes[0], unit_vector("A"))
    assert isinstance(outcomes[1], UndecodableImage)
    assert np.array_equal(outcomes[2], unit_vector("B"))
    with pytest.raises(UndecodableImage, match=r"input\[1\]: cannot be decoded"):
        raise_first(outcomes, "input")


async def test_decoder_is_told_when_an_image_is_the_only_one_in_work() -> None:
    decoder = FakeDecoder()
    embedder = fake_embedder(FakeEncoder(), decoder=decoder)
    await embedder.embed_image(b"A")
    await embedder.embed_images([b"A", b"B"])
    await asyncio.gather(embedder.embed_image(b"A"), embedder.embed_image(b"B"))
    await embedder.embed_image(b"A")
    assert decoder.alone == [True, False, True, False, True]


async def test_refused_request_is_refused_before_anything_is_decoded() -> None:
    decoder, metrics = FakeDecoder(), FakeMetrics()
    embedder = fake_embedder(FakeEncoder(), decoder=decoder, max_items=4, metrics=metrics)
    with pytest.raises(TooLarge):
        await embedder.embed_images([b"A"] * 5)
    first = asyncio.create_task(embedder.embed_images([b"A"] * 3))
    await asyncio.sleep(0)
    n_before = decoder.n_decoded
    with pytest.raises(Overloaded):
        await embedder.embed_images([b"B"] * 2)
    assert decoder.n_decoded == n_before
    assert metrics.rejected == {"decode_full": 1}
    assert len(await first) == 3


async def test_texts_that_do_not_fit_are_refused_before_they_are_tokenised() -> None:
    metrics = FakeMetrics()
    admission, tokenizer = Admission(max_items=4, max_bytes=10**9), GatedTokenizer()
    embedder = fake_embedder(
        FakeEncoder(), tokenizer=tokenizer, text_admission=admission, max_items=4, metrics=metrics
    )
    with admission.hold(3, 3), pytest.raises(Overloaded):
        await embedder.embed_texts(["a", "b"])
    assert (tokenizer.begun, metrics.rejected) == ([], {"tokenize_full": 1})


class GatedTokenizer(FakeTokenizer):
    """Waits for the gate at each text, and remembers them."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []

    def ids(self, text: str) -> tuple[Any, bool]:
        self.begun.append(text)
        assert self.gate.wait(10)
        return super().ids(text)


def gated(**changes: Any) -> tuple[Embedder, GatedTokenizer]:
    tokenizer = GatedTokenizer()
    return fake_embedder(FakeEncoder(), tokenizer=tokenizer, **changes), tokenizer


async def test_texts_of_callers_that_left_are_not_tokenised_and_hold_their_room_until_work_has_ended() -> (
    None
):
    admission = Admission(max_items=64, max_bytes=10**9)
    embedder, tokenizer = gated(text_admission=admission)
    gone = [asyncio.create_task(embedder.embed_texts([f"gone {n}"] * 20)) for n in range(3)]
    await until(lambda: tokenizer.begun)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone[1:])
    assert not gone[0].done()
    assert admission.n_items == 20, "of the one whose text is being tokenised"
    tokenizer.gate.set()
    await asyncio.wait(gone)
    assert all(task.cancelled() for task in gone)
    assert admission.n_items == 0
    await embedder.embed_text("next")
    assert tokenizer.begun == ["gone 0", "next"]


def test_recent_text_is_not_encoded_again() -> None:
    async def run() -> None:
        embedder, tokenizer = gated()
        tokenizer.gate.set()
        first, again = await embedder.embed_text("cat"), await embedder.embed_text("cat")
        assert tokenizer.begun == ["cat"]
        assert np.array_equal(first.embedding, again.embedding)
        assert np.array_equal((await embedder.embed_text("dog")).embedding, unit_vector("dog"))

    asyncio.run(run())


def test_text_that_failed_is_encoded_again() -> None:
    async def run() -> None:
        embedder = fake_embedder(FakeEncoder())
        for _ in range(2):
            with pytest.raises(InvalidValue):
                await embedder.embed_text("no!")

    asyncio.run(run())


def test_item_that_the_encoder_cannot_do_is_named() -> None:
    with pytest.raises(EncoderFailed, match=r"input\[1\]: "):
        raise_first([unit_vector("a"), EncoderFailed("failed on this item")], "input")
    with pytest.raises(NotReady, match=r"^the server"):
        raise_first([unit_vector("a"), NotReady("the server is stopping")], "input")


async def test_texts_say_whether_they_were_truncated_and_fail_alone() -> None:
    outcomes = await fake_embedder(FakeEncoder()).embed_texts(["cat", "a long sentence", "no!", "", "why?"])
    assert not outcomes[0].truncated
    assert outcomes[1].truncated
    assert isinstance(outcomes[2], InvalidValue)
    assert np.array_equal(outcomes[3].embedding, unit_vector(""))
    assert isinstance(outcomes[4], EncoderFailed)
