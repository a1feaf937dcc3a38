"""Vocabulary, tokenizer and first table of a text tower of word pieces, from a sentence encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.train.align.text_start import (
    N_FIRST,
    WordPieceVocabulary,
    choose_pieces,
    first_table,
    framed,
    tokenizer_of,
)
from diptych_training.train.text_teacher.sentence_encoder import SentenceEncoder, open_sentence_encoder
from diptych_training.train.tokenizer import write_tokenizer
from support.sentence_encoders import write_sentence_encoder
from support.tiny_run import tiny_text_spec

TEXTS = ["a red house", "red houses", "Red  boats", "the old cat", "red"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return open_sentence_encoder(str(write_sentence_encoder(tmp_path_factory.mktemp("encoder"))))


def chosen(encoder: SentenceEncoder, vocab_size: int = 100) -> WordPieceVocabulary:
    return choose_pieces(encoder.tokenizer, TEXTS, vocab_size, "clip")


def test_the_most_frequent_pieces_and_all_letters_are_kept(encoder: SentenceEncoder) -> None:
    assert set(chosen(encoder).pieces) == {"a", "red", "house", "##s", "boat", "the", "old", "cat"}
    assert set(chosen(encoder, vocab_size=8).pieces) == {
        "a",
        "##s",
        "red",
        "house",
    }  # beside four special tokens


def test_texts_are_split_as_the_encoder_splits_them_between_start_and_end(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    vocabulary = chosen(encoder)
    write_tokenizer(tokenizer_of(vocabulary, encoder.tokenizer), tmp_path / "tokenizer.json")
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", tiny_text_spec())
    ids = vocabulary.ids()
    for text, tokens in {
        "Red houses": ["[CLS]", "red", "house", "##s", "[SEP]"],
        "a blue [SEP] cat": ["[CLS]", "a", *["[UNK]"] * 4, "cat", "[SEP]"],
        "": ["[CLS]", "[SEP]"],
    }.items():
        assert tokenizer.ids(text)[0].tolist() == [ids[token] for token in tokens]
    long, truncated = tokenizer.ids("red " * 30)
    assert (len(long), truncated, long[-1]) == (12, True, vocabulary.size - 1)


def test_rows_stand_at_the_ids_of_their_pieces(encoder: SentenceEncoder) -> None:
    vocabulary = chosen(encoder)
    rows = encoder.embed_ids(framed(encoder.tokenizer, vocabulary.pieces)).astype(np.float32)
    table, weights = first_table(vocabulary, rows, vocab_size=60)
    assert (table.shape, weights.shape) == ((60, 32), (60, 1))
    house = vocabulary.ids()["house"]
    alone = encoder.embed(["house"])[0].astype(np.float32)
    torch.testing.assert_close(table[house], torch.from_numpy(alone))
    assert table[:N_FIRST].norm(dim=1).min() > 0.5  # a text of unknown words needs a direction
