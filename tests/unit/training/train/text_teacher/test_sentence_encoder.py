"""Sentence encoders of a folder or package: what they answer, and which are refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from diptych_training.errors import ImportFailed
from diptych_training.train.text_teacher.sentence_encoder import (
    PART,
    Embeddings,
    SentenceEncoder,
    cached_embeddings,
    open_sentence_encoder,
)
from support.sentence_encoders import (
    MEAN,
    PIECES,
    WORDS,
    write_json,
    write_package,
    write_sentence_encoder,
)

TEXTS = ["a photo of the old red house", "cats", "boat", "a small dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_sentence_encoder(tmp_path / "encoder")


def test_an_embedding_is_the_mean_over_the_tokens_of_a_text(folder: Path) -> None:
    found = open_sentence_encoder(str(folder)).embed(TEXTS)
    model = AutoModel.from_pretrained(folder).eval()
    for text, embedding in zip(TEXTS, found, strict=True):
        words = ["[CLS]", *text.replace("cats", "cat ##s").split()[:6], "[SEP]"]  # at most eight tokens
        ids = torch.tensor([[PIECES.index(word) for word in words]])
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)


def test_an_encoder_in_an_installed_package_is_found_and_no_code_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path, "some_small_encoder")
    monkeypatch.syspath_prepend(tmp_path)
    known = open_sentence_encoder(str(package / "model"))
    for name in ("some_small_encoder", "some-small-encoder"):
        encoder = open_sentence_encoder(name)
        assert np.array_equal(encoder.embed(TEXTS), known.embed(TEXTS))


def test_encoders_have_different_digests(folder: Path, tmp_path: Path) -> None:
    digests = {open_sentence_encoder(str(folder)).digest}
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 5})
    digests.add(open_sentence_encoder(str(folder)).digest)
    digests.add(open_sentence_encoder(str(write_sentence_encoder(tmp_path / "other", seed=1))).digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode_cls_token": True}, "says pooling_mode_cls_token"),
        ({**MEAN, "pooling_mode_max_tokens": True}, "says pooling_mode_mean_tokens, pooling_mode_max_tokens"),
        ({"pooling_mode": "lasttoken"}, "says lasttoken"),
    ],
)
def test_other_poolings_are_refused(folder: Path, pooling: dict[str, object], message: str) -> None:
    write_json(folder / "1_Pooling" / "config.json", pooling)
    with pytest.raises(ImportFailed, match=f"{message}: only pooling_mode_mean_tokens is supported"):
        open_sentence_encoder(str(folder))


def test_a_source_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="no_such_encoder is neither a folder nor an installed"):
        open_sentence_encoder("no_such_encoder")
    with pytest.raises(ImportFailed, match=r"no folder with model\.safetensors, tokenizer\.json"):
        open_sentence_encoder(str(tmp_path))


TEXTS_OF_CACHED_EMBEDDINGS = [f"{one} {other}" for one in WORDS for other in WORDS]
MANY = [f"{one} {other}" for one in TEXTS_OF_CACHED_EMBEDDINGS for other in WORDS] * 3  # more than one part


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


def test_known_texts_are_not_embedded_again(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = cached_embeddings(encoder, TEXTS_OF_CACHED_EMBEDDINGS)
    capsys.readouterr()
    interrupted_after(encoder, 0, monkeypatch)
    assert np.array_equal(cached_embeddings(encoder, TEXTS_OF_CACHED_EMBEDDINGS), first)
    assert not capsys.readouterr().err  # no bar for nothing
    with pytest.raises(KeyboardInterrupt):
        cached_embeddings(encoder, TEXTS_OF_CACHED_EMBEDDINGS[::-1])


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
