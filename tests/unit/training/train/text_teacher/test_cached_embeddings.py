"""Embeddings on disk: nothing is computed twice, even if the first time was interrupted."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from diptych_training.train.text_teacher.sentence_encoder import (
    PART,
    Embeddings,
    SentenceEncoder,
    cached_embeddings,
    open_sentence_encoder,
)
from support.sentence_encoders import WIDTH, WORDS, write_sentence_encoder

TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS]
MANY = [f"{one} {other}" for one in TEXTS for other in WORDS] * 3  # more than one part


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SentenceEncoder:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return open_sentence_encoder(str(write_sentence_encoder(tmp_path / "encoder")))


def interrupted_after(encoder: SentenceEncoder, n: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let an encoder be interrupted after so many calls; returns the list of how many texts each had."""
    embed, calls = encoder.embed, []

    def embed_some(texts: Sequence[str]) -> Embeddings:
        if len(calls) == n:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return embed(texts)

    monkeypatch.setattr(encoder, "embed", embed_some)
    return calls


def test_embeddings_are_the_encoders_to_half_precision(encoder: SentenceEncoder) -> None:
    found = cached_embeddings(encoder, TEXTS)
    assert (found.dtype, found.shape) == (np.float16, (len(TEXTS), WIDTH))
    np.testing.assert_allclose(found, encoder.embed(TEXTS), atol=1e-3)
    assert cached_embeddings(encoder, []).shape == (0, WIDTH)


def test_known_texts_are_not_embedded_again(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = cached_embeddings(encoder, TEXTS)
    capsys.readouterr()
    interrupted_after(encoder, 0, monkeypatch)
    assert np.array_equal(cached_embeddings(encoder, TEXTS), first)
    assert not capsys.readouterr().err  # no bar for nothing
    with pytest.raises(KeyboardInterrupt):
        cached_embeddings(encoder, TEXTS[::-1])


def test_an_interrupted_call_goes_on_where_it_was(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = encoder.embed(MANY)
    with monkeypatch.context() as patch:
        interrupted_after(encoder, 1, patch)
        with pytest.raises(KeyboardInterrupt):
            cached_embeddings(encoder, MANY)
    calls = interrupted_after(encoder, 99, monkeypatch)
    np.testing.assert_allclose(cached_embeddings(encoder, MANY), expected, atol=1e-3)
    assert calls == [len(MANY) - PART]


def test_a_second_run_waits_for_the_texts_that_the_first_embeds(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, calls, second_embeds = encoder.embed, [], Event()
    with ThreadPoolExecutor(1) as pool:
        seconds: list[Future[Embeddings]] = []

        def embed_beside_another_run(texts: Sequence[str]) -> Embeddings:
            calls.append(len(texts))
            if len(calls) > 1:
                second_embeds.set()
            else:
                seconds.append(pool.submit(cached_embeddings, encoder, TEXTS))
                second_embeds.wait(0.5)  # as long as this run embeds
            return embed(texts)

        monkeypatch.setattr(encoder, "embed", embed_beside_another_run)
        first = cached_embeddings(encoder, TEXTS)
        np.testing.assert_array_equal(seconds[0].result(), first)
    assert calls == [len(TEXTS)]


def test_another_encoder_has_embeddings_of_its_own(encoder: SentenceEncoder, tmp_path: Path) -> None:
    found = cached_embeddings(encoder, TEXTS)
    other = open_sentence_encoder(str(write_sentence_encoder(tmp_path / "other", seed=1)))
    assert not np.allclose(cached_embeddings(other, TEXTS), found, atol=0.1)


def test_a_damaged_file_is_computed_again(encoder: SentenceEncoder, tmp_path: Path) -> None:
    first = cached_embeddings(encoder, TEXTS)
    for file in tmp_path.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-5])
    np.testing.assert_array_equal(cached_embeddings(encoder, TEXTS), first)
