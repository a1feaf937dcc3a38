"""Texts for comparisons are embedded a few at a time."""

import asyncio
from typing import Any

import pytest

from diptych.core.collections.upkeep.reembed import NoPause
from diptych.core.rollout.text_vectors import PAGE, text_vectors
from diptych.core.types import TextEmbedding
from diptych.errors import EncoderFailed, InvalidValue, Overloaded
from unit.core.core_fakes import unit_vector


class CountingEmbedder:
    """Remembers calls; `busy` calls are refused first, texts with `!` are bad, with `?` the encoder fails."""

    max_texts = 64
    busy_s = 0.0

    def __init__(self, busy: int = 0) -> None:
        self.calls: list[list[str]] = []
        self._busy = busy

    async def embed_texts(self, texts: Any) -> list[Any]:
        if self._busy:
            self._busy -= 1
            raise Overloaded("full", 0.001)
        self.calls.append(list(texts))
        return [self._outcome(text) for text in texts]

    def _outcome(self, text: str) -> Any:
        if "!" in text:
            return InvalidValue("no exclamation marks")
        return EncoderFailed("broken") if "?" in text else TextEmbedding(unit_vector(text), False)


def embed(embedder: CountingEmbedder, texts: list[str]) -> Any:
    return asyncio.run(text_vectors(embedder, texts, NoPause()))  # type: ignore[arg-type]


def test_texts_go_to_the_encoder_a_few_at_a_time_even_when_it_is_busy() -> None:
    embedder, texts = CountingEmbedder(busy=2), [str(n) for n in range(20)]
    found = embed(embedder, texts)
    assert list(found) == texts
    assert found["7"] == pytest.approx(unit_vector("7"))
    assert [text for call in embedder.calls for text in call] == texts
    assert max(map(len, embedder.calls)) <= PAGE


def test_a_bad_text_is_left_out_and_a_broken_encoder_is_an_error() -> None:
    assert list(embed(CountingEmbedder(), ["cat", "bad!", "dog"])) == ["cat", "dog"]
    with pytest.raises(EncoderFailed):
        embed(CountingEmbedder(), ["cat", "why?"])
