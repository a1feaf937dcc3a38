"""The text tower over word pieces: a weighted mean and a transformer, side by side."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from diptych_training.config import LockConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.int8.observe import open_file, run
from diptych_training.export.onnx.bundle_files import write_text_graph
from diptych_training.importing.weight_names import Layout, to_layout
from diptych_training.models import CLIP, ModelConfig, TextConfig, WordPiecesConfig, build_model
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from diptych_training.train.optim import is_decayed
from support.tiny_run import TINY_VIT, TINY_WORD_PIECES, tiny_clip, tiny_image_spec, tiny_text_spec

START, END = 2, TINY_WORD_PIECES.vocab_size - 1
MEAN_DIM = TINY_WORD_PIECES.mean_dim
TEXTS = torch.tensor([[START, 17, 40, 9, END], [START, 9, 40, 17, END], [START, 5, END, 0, 0]])


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(3)
    model = build_model(tiny_clip(TINY_VIT, TINY_WORD_PIECES)).eval()
    torch.nn.init.normal_(model.word_pieces.token_weight.weight)
    return model


@torch.no_grad()
def test_both_halves_have_unit_norm(model: CLIP) -> None:
    halves = model.encode_text(TEXTS).tensor_split([MEAN_DIM], dim=1)
    for half in halves:
        torch.testing.assert_close(half.norm(dim=1), torch.ones(3))


@torch.no_grad()
def test_padding_changes_nothing(model: CLIP) -> None:
    longer = torch.nn.functional.pad(TEXTS, (0, 4))
    torch.testing.assert_close(model.encode_text(longer), model.encode_text(TEXTS))
    torch.testing.assert_close(model.encode_text(TEXTS[2:, :3]), model.encode_text(TEXTS)[2:])


@torch.no_grad()
def test_only_the_second_half_knows_the_order_of_words(model: CLIP) -> None:
    one, other = model.encode_text(TEXTS)[:2]
    torch.testing.assert_close(one[:MEAN_DIM], other[:MEAN_DIM])
    assert not torch.allclose(one[MEAN_DIM:], other[MEAN_DIM:], atol=1e-3)


@torch.no_grad()
def test_a_piece_of_large_weight_dominates_the_mean(model: CLIP) -> None:
    model.word_pieces.token_weight.weight[17] = 20.0
    both, alone = model.encode_text(torch.tensor([[START, 17, 40, END], [START, 17, END, 0]]))
    torch.testing.assert_close(both[:MEAN_DIM], alone[:MEAN_DIM])


@torch.no_grad()
def test_the_first_numbers_can_be_had_alone(model: CLIP) -> None:
    whole = model.encode_text(TEXTS)
    for n in (MEAN_DIM - 1, MEAN_DIM, MEAN_DIM + 1):
        torch.testing.assert_close(model.encode_text_start(TEXTS, n), whole[:, :n])


@torch.no_grad()
def test_texts_in_groups_of_similar_length_have_the_same_features(model: CLIP) -> None:
    rng = np.random.default_rng(0)
    ids = torch.zeros(80, 12, dtype=torch.int64)
    for row in ids:
        n = int(rng.integers(1, 11))
        row[: n + 2] = torch.tensor([START, *rng.integers(3, END, n), END])
    _, grouped = model(torch.zeros(80, 3, 32, 32), ids)
    torch.testing.assert_close(grouped, model.encode_text(ids))


def test_the_table_is_the_first_layer_and_the_projections_the_last() -> None:
    model = build_model(tiny_clip(TINY_VIT, TINY_WORD_PIECES))
    placed = depths(name for name, _ in model.named_parameters())
    for name in ("token_embedding.weight", "token_weight.weight", "positional_embedding", "ln_pre.bias"):
        assert placed[f"word_pieces.{name}"] == Depth("text", 0, 4)
    assert placed["word_pieces.transformer.resblocks.1.ln_1.weight"] == Depth("text", 2, 4)
    assert placed["word_pieces.mean_projection.weight"] == Depth("text", 3, 4)
    lock(model, LockConfig(text=3))
    learns = {name for name, parameter in model.word_pieces.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in learns} == {"mean_projection", "text_projection", "ln_final"}


def test_neither_rows_nor_weights_of_pieces_decay() -> None:
    """A piece that a batch lacks would only lose what it knows."""
    model = build_model(tiny_clip(TINY_VIT, TINY_WORD_PIECES))
    decayed = {name for name, p in model.word_pieces.named_parameters() if is_decayed(name, p)}
    assert {name for name in decayed if not name.startswith("transformer.")} == {
        "mean_projection.weight",
        "text_projection.weight",
    }


def test_a_mean_that_leaves_nothing_to_the_transformer_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"text\.mean_dim is 16, it must be below embed_dim, 16"):
        tiny_clip(TINY_VIT, TINY_WORD_PIECES.model_copy(update={"mean_dim": 16}))


def test_a_text_table_without_a_kind_is_a_transformer() -> None:
    stated = tiny_clip(TINY_VIT).model_dump(mode="json")
    del stated["text"]["kind"]
    assert isinstance(ModelConfig.model_validate(stated).text, TextConfig)
    stated = tiny_clip(TINY_VIT, TINY_WORD_PIECES).model_dump(mode="json")
    assert isinstance(ModelConfig.model_validate(stated).text, WordPiecesConfig)


@pytest.mark.parametrize(
    ("layout", "library"), [("open_clip", "open_clip"), ("hugging_face", "transformers")]
)
def test_no_other_library_has_a_clip_with_this_tower(layout: Layout, library: str) -> None:
    config = tiny_clip(TINY_VIT, TINY_WORD_PIECES)
    with pytest.raises(TrainingConfigError, match=rf"model\.text is of kind word_pieces: {library} has no"):
        to_layout(build_model(config).state_dict(), config, layout)


@pytest.mark.long
def test_an_exported_tower_gives_the_embeddings_of_torch(model: CLIP, tmp_path) -> None:
    spec = tiny_text_spec()
    write_text_graph(model, spec, tmp_path / "text.onnx")
    session = open_file(tmp_path / "text.onnx")
    reference = TorchEncoder(model, tiny_image_spec())
    for texts in (TEXTS, TEXTS[2:, :3], torch.tensor([[START, END]])):
        ids = texts.numpy().astype(np.int32)
        np.testing.assert_allclose(run(session, ids), reference.encode_text(ids), atol=1e-5)
