"""The text tower over word pieces: a weighted mean and a transformer, side by side."""

import pytest
import torch
from torch import Tensor

from diptych_training.config import LockConfig
from diptych_training.models import CLIP, WordPiecesConfig, build_model
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from diptych_training.train.optim import is_decayed
from support.tiny_run import TINY_VIT, TINY_WORD_PIECES, tiny_clip

START, END = 2, TINY_WORD_PIECES.vocab_size - 1
MEAN_DIM = TINY_WORD_PIECES.mean_dim
TEXTS = torch.tensor([[START, 17, 40, 9, END], [START, 9, 40, 17, END], [START, 5, END, 0, 0]])


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(3)
    model = build_model(tiny_clip(TINY_VIT, TINY_WORD_PIECES)).eval()
    torch.nn.init.normal_(model.word_pieces.token_weight.weight)
    return model


@pytest.fixture
def routed(model: CLIP) -> CLIP:
    """The same tower with a route that has learned nothing yet."""
    text = TINY_WORD_PIECES.model_copy(update={"routed": True})
    routed = build_model(tiny_clip(TINY_VIT, text)).eval()
    routed.load_state_dict(
        {"word_pieces.token_route.weight": torch.zeros(text.vocab_size, 1), **model.state_dict()}
    )
    return routed


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


def test_a_tower_that_was_described_before_there_were_routes_has_none() -> None:
    described = TINY_WORD_PIECES.model_dump(exclude={"routed"})
    assert not WordPiecesConfig.model_validate(described).routed


def unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features, dim=-1)


@torch.no_grad()
def test_a_route_that_learned_nothing_changes_no_direction(model: CLIP, routed: CLIP) -> None:
    torch.testing.assert_close(unit(routed.encode_text(TEXTS)), unit(model.encode_text(TEXTS)))


@torch.no_grad()
def test_pieces_say_how_much_of_a_text_is_in_the_first_half(model: CLIP, routed: CLIP) -> None:
    routed.word_pieces.token_route.weight[17] = 2.0
    plain, found = model.encode_text(TEXTS), routed.encode_text(torch.nn.functional.pad(TEXTS, (0, 4)))
    share = torch.tensor([2.0, 2.0, 0.0]).sigmoid()[:, None]  # of the texts with piece 17, and without
    torch.testing.assert_close(found[:, :MEAN_DIM], share * plain[:, :MEAN_DIM])
    torch.testing.assert_close(found[:, MEAN_DIM:], (1 - share) * plain[:, MEAN_DIM:])


def test_pairs_do_not_teach_the_route(routed: CLIP) -> None:
    """Pairs of drawings alone would make all texts ask for drawings."""
    routed.train().encode_text(TEXTS).square().sum().backward()
    assert not routed.word_pieces.token_route.weight.grad.any()
    routed.word_pieces.route_logits(TEXTS).sum().backward()
    assert routed.word_pieces.token_route.weight.grad[17] == 2


def test_the_table_is_the_first_layer_and_the_projections_the_last(routed: CLIP) -> None:
    model = routed
    placed = depths(name for name, _ in model.named_parameters())
    first = ("token_embedding.weight", "token_weight.weight", "token_route.weight", "positional_embedding")
    for name in (*first, "ln_pre.bias"):
        assert placed[f"word_pieces.{name}"] == Depth("text", 0, 4)
    assert placed["word_pieces.transformer.resblocks.1.ln_1.weight"] == Depth("text", 2, 4)
    assert placed["word_pieces.mean_projection.weight"] == Depth("text", 3, 4)
    lock(model, LockConfig(text=3))
    learns = {name for name, parameter in model.word_pieces.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in learns} == {"mean_projection", "text_projection", "ln_final"}


def test_neither_rows_nor_weights_of_pieces_decay(routed: CLIP) -> None:
    """A piece that a batch lacks would only lose what it knows."""
    decayed = {name for name, p in routed.word_pieces.named_parameters() if is_decayed(name, p)}
    assert {name for name in decayed if not name.startswith("transformer.")} == {
        "mean_projection.weight",
        "text_projection.weight",
    }
