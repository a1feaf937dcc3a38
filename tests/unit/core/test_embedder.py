import asyncio

import numpy as np
import pytest

from diptych.core.outcomes import raise_first
from diptych.errors import EncoderFailed, InvalidValue, NotReady, Overloaded, TooLarge, UndecodableImage
from unit.core.core_fakes import FakeDecoder, FakeEncoder, FakeMetrics, fake_embedder, unit_vector


def test_bad_image_is_its_own_outcome_and_the_others_keep_their_order() -> None:
    async def run() -> None:
        outcomes = await fake_embedder(FakeEncoder()).embed_images([b"A", b"bad", b"B"])
        assert np.array_equal(outcomes[0], unit_vector("A"))
        assert isinstance(outcomes[1], UndecodableImage)
        assert np.array_equal(outcomes[2], unit_vector("B"))
        with pytest.raises(UndecodableImage, match=r"input\[1\]: cannot be decoded"):
            raise_first(outcomes, "input")

    asyncio.run(run())


def test_single_image_raises_its_error() -> None:
    with pytest.raises(UndecodableImage):
        asyncio.run(fake_embedder(FakeEncoder()).embed_image(b"bad"))


def test_refused_request_is_refused_before_anything_is_decoded() -> None:
    async def run() -> None:
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

    asyncio.run(run())


def test_texts_that_do_not_fit_are_refused_before_they_are_tokenised() -> None:
    async def run() -> None:
        metrics = FakeMetrics()
        embedder = fake_embedder(FakeEncoder(), max_items=4, metrics=metrics)
        tokenized: list[str] = []
        embedder._tokenizer.ids = tokenized.append  # type: ignore[method-assign,assignment]
        with embedder._text_admission.hold(3, 3), pytest.raises(Overloaded):
            await embedder.embed_texts(["a", "b"])
        assert (tokenized, metrics.rejected) == ([], {"tokenize_full": 1})

    asyncio.run(run())


def test_item_that_the_encoder_cannot_do_is_named() -> None:
    with pytest.raises(EncoderFailed, match=r"input\[1\]: "):
        raise_first([unit_vector("a"), EncoderFailed("failed on this item")], "input")
    with pytest.raises(NotReady, match=r"^the server"):
        raise_first([unit_vector("a"), NotReady("the server is stopping")], "input")


def test_texts_say_whether_they_were_truncated_and_fail_alone() -> None:
    async def run() -> None:
        outcomes = await fake_embedder(FakeEncoder()).embed_texts(
            ["cat", "a long sentence", "no!", "", "why?"]
        )
        assert not outcomes[0].truncated
        assert outcomes[1].truncated
        assert isinstance(outcomes[2], InvalidValue)
        assert np.array_equal(outcomes[3].embedding, unit_vector(""))
        assert isinstance(outcomes[4], EncoderFailed)

    asyncio.run(run())
