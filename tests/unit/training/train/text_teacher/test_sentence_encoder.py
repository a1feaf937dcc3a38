"""Sentence encoders of a folder or package: what they answer, and which are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from diptych_training.errors import ImportFailed
from diptych_training.train.text_teacher.sentence_encoder import open_sentence_encoder
from support.sentence_encoders import (
    MEAN,
    PIECES,
    STEPS,
    WIDTH,
    write_json,
    write_package,
    write_sentence_encoder,
    write_steps,
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


def test_embeddings_do_not_depend_on_their_batch(folder: Path) -> None:
    encoder = open_sentence_encoder(str(folder))
    many = encoder.embed(TEXTS * 100)
    np.testing.assert_allclose(many[-4:], encoder.embed(TEXTS), atol=1e-5)
    assert many.shape == (400, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)


def test_a_piece_of_a_word_has_an_embedding_of_its_own(folder: Path) -> None:
    encoder = open_sentence_encoder(str(folder))
    of_word, of_piece = encoder.embed_ids([[2, PIECES.index(piece), 3] for piece in ("house", "##house")])
    np.testing.assert_allclose(of_word, encoder.embed(["house"])[0], atol=1e-5)
    assert of_word @ of_piece < 0.99


def test_an_encoder_in_an_installed_package_is_found_and_no_code_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_package(tmp_path, "some_small_encoder")
    monkeypatch.syspath_prepend(tmp_path)
    known = open_sentence_encoder(str(package / "model"))
    for name in ("some_small_encoder", "some-small-encoder"):
        encoder = open_sentence_encoder(name)
        assert np.array_equal(encoder.embed(TEXTS), known.embed(TEXTS))


def test_a_folder_of_transformers_says_nothing_of_pooling(folder: Path) -> None:
    known = open_sentence_encoder(str(folder)).embed(["cat"])
    (folder / "modules.json").unlink()
    assert np.array_equal(open_sentence_encoder(str(folder)).embed(["cat"]), known)


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


def test_a_layer_above_the_mean_is_refused(folder: Path) -> None:
    write_steps(folder, (*STEPS, "Dense"))
    with pytest.raises(ImportFailed, match=r"modules\.json has a Dense"):
        open_sentence_encoder(str(folder))


def test_a_source_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="no_such_encoder is neither a folder nor an installed"):
        open_sentence_encoder("no_such_encoder")
    with pytest.raises(ImportFailed, match=r"no folder with model\.safetensors, tokenizer\.json"):
        open_sentence_encoder(str(tmp_path))


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    lost = state.pop("encoder.layer.1.output.dense.bias")
    save_file(state, file, {"format": "pt"})
    with pytest.raises(ImportFailed, match=r"lacks encoder\.layer\.1\.output\.dense\.bias"):
        open_sentence_encoder(str(folder))
    save_file({**state, "encoder.layer.1.output.dense.bias": lost[1:].clone()}, file, {"format": "pt"})
    with pytest.raises(ImportFailed, match="cannot load the model"):
        open_sentence_encoder(str(folder))


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    write_json(folder / "config.json", {"model_type": "gpt2"})
    with pytest.raises(ImportFailed, match="model_type is gpt2, it must be one of bert"):
        open_sentence_encoder(str(folder))
