"""Features of the towers against the original libraries, with the same random weights."""

import pytest
import torch

from diptych_training.importing.weight_names import from_layout, layout_of, to_layout
from diptych_training.models.clip import GROUP_SIZE
from support.families import (
    CONTEXT_LENGTH,
    FAMILIES,
    Family,
    image_features,
    random_model,
    sample_texts,
    text_features,
)

TOLERANCE = 2e-5  # float32 rounding of features of size 1: sums are taken in another order


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_both_towers_give_the_features_of_the_library(family):
    ours, theirs = random_model(family.config), family.theirs()
    theirs.load_state_dict(to_layout(ours.state_dict(), family.config, family.layout), strict=True)
    size = family.config.image_size
    pixels, input_ids = torch.randn(3, 3, size, size), sample_texts()
    assert_close(image_features(ours, pixels), image_features(theirs, pixels))
    assert_close(text_features(ours, input_ids), text_features(theirs, input_ids))


def test_names_and_shapes_go_to_the_library_and_back_without_a_change(family):
    ours = random_model(family.config).state_dict()
    theirs = family.theirs()
    theirs.load_state_dict(to_layout(ours, family.config, family.layout), strict=True)
    assert layout_of(theirs.state_dict()) == family.layout
    back = from_layout(theirs.state_dict(), family.config)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("siglip")])
def test_tokens_after_the_end_of_text_change_nothing(name):
    model = random_model(FAMILIES[name].config)
    input_ids = sample_texts(1)
    length = int(input_ids.argmax()) + 1
    assert length < CONTEXT_LENGTH
    assert_close(text_features(model, input_ids[:, :length]), text_features(model, input_ids))


def test_padding_changes_the_features_of_siglip():
    model = random_model(FAMILIES["siglip of open_clip"].config)
    input_ids = sample_texts(1)
    length = int(input_ids.argmax()) + 1
    cut, whole = text_features(model, input_ids[:, :length]), text_features(model, input_ids)
    assert (cut - whole).abs().max() > 0.1


def test_encoding_by_length_gives_the_same_features_and_gradients(monkeypatch):
    config = FAMILIES["vit of openai"].config
    model = random_model(config)
    input_ids = sample_texts(3 * GROUP_SIZE + 5)
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    seeds = torch.randn(len(input_ids), config.embed_dim)
    learned = [model.token_embedding.weight, *model.transformer.parameters(), model.text_projection]
    encode, shapes = model.encode_text, []

    def noted(ids: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(ids.shape))
        return encode(ids)

    monkeypatch.setattr(model, "encode_text", noted)
    by_length, together = model(pixels, input_ids)[1], encode(input_ids)
    assert len(shapes) == 3
    assert sum(n_texts for n_texts, _ in shapes) == len(input_ids)
    assert shapes[0][1] < shapes[1][1] < shapes[2][1] == CONTEXT_LENGTH
    assert_close(by_length, together)
    found = torch.autograd.grad((by_length * seeds).sum(), learned)
    expected = torch.autograd.grad((together * seeds).sum(), learned)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_text_tower_that_sees_padding_gets_every_text_at_full_length():
    config = FAMILIES["siglip of open_clip"].config
    model = random_model(config)
    input_ids = sample_texts(3 * GROUP_SIZE)
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    assert torch.equal(model(pixels, input_ids)[1], model.encode_text(input_ids))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 0.1  # features that are nearly nothing would be equal to anything
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
