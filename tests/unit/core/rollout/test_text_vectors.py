"""Texts for comparisons are embedded a few at a time, and remembered."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.reembed import NoPause
from diptych.core.rollout.text_vectors import PAGE, TextVectors
from diptych.core.types import TextEmbedding
from diptych.errors import EncoderFailed, InvalidValue, Overloaded
from unit.core.core_fakes import model_info, unit_vector


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


def pipeline(embedder: CountingEmbedder, identity: str = "one") -> Any:
    return SimpleNamespace(embedder=embedder, model=model_info(identity=identity))


def embed(vectors: TextVectors, at: Any, labels: Any, templates: Any = ("{}",)) -> Any:
    return asyncio.run(vectors.of_labels(at, labels, templates, NoPause()))


def test_texts_go_to_the_encoder_a_few_at_a_time_even_when_it_is_busy() -> None:
    embedder, texts = CountingEmbedder(busy=2), [str(n) for n in range(20)]
    found = asyncio.run(TextVectors().of_texts(pipeline(embedder), texts, NoPause()))
    assert list(found) == texts
    assert found["7"] == pytest.approx(unit_vector("7"))
    assert [text for call in embedder.calls for text in call] == texts
    assert max(map(len, embedder.calls)) <= PAGE


def test_a_label_is_the_mean_of_its_templates() -> None:
    found = embed(TextVectors(), pipeline(CountingEmbedder()), ["cat"], ["a {}", "the {}"])
    total = unit_vector("a cat") + unit_vector("the cat")
    assert found["cat"] == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_a_bad_text_is_left_out_and_a_broken_encoder_is_an_error() -> None:
    assert list(embed(TextVectors(), pipeline(CountingEmbedder()), ["cat", "bad!", "dog"])) == ["cat", "dog"]
    with pytest.raises(EncoderFailed):
        embed(TextVectors(), pipeline(CountingEmbedder()), ["cat", "why?"])


def test_texts_are_remembered_for_each_identity() -> None:
    vectors, embedder = TextVectors(), CountingEmbedder()
    first = embed(vectors, pipeline(embedder), ["cat", "dog"])
    again = embed(vectors, pipeline(embedder), ["dog", "cat", "cow"])
    assert embedder.calls == [["cat", "dog"], ["cow"]]
    assert again["dog"] == pytest.approx(first["dog"])
    embed(vectors, pipeline(embedder, "two"), ["cat"])
    assert embedder.calls[-1] == ["cat"]
