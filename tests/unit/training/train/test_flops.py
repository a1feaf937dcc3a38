"""Training FLOPs of a recipe, beside numbers worked out by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych_training.models.count import meta_model
from diptych_training.train.flops import training_flops
from support.small_recipe import N_ITEMS, small_recipe
from support.tiny_run import TINY_LITE, TINY_RESNET

IMAGE_WIDTH, TEXT_WIDTH, EMBED_DIM = 32, 16, 8  # of the small recipe
PATCHES, PATCH_SIZE, CONTEXT_LENGTH, BLOCKS = 16, 8, 12, 2


def block(width: int, length: int, n_read: int) -> int:
    """Multiplications of a block that computes `n_read` of its tokens."""
    projections = (2 * length + 2 * n_read) * width * width  # key, value; query, output
    return projections + 2 * n_read * length * width + 2 * n_read * width * 4 * width


def transformer(width: int, length: int) -> int:
    """All tokens in all blocks but the last, which computes the one that is read."""
    return (BLOCKS - 1) * block(width, length, length) + block(width, length, 1)


def test_a_clip_recipe_costs_three_forward_passes_less_the_gradient_of_the_pixels():
    patches = PATCHES * (3 * PATCH_SIZE**2) * IMAGE_WIDTH
    image = patches + transformer(IMAGE_WIDTH, PATCHES + 1) + IMAGE_WIDTH * EMBED_DIM
    assert training_flops(small_recipe()) == 2 * (3 * (image + text_and_pairs()) - patches)


def test_a_convolution_in_groups_costs_backward_twice_what_it_costs_forward():
    config = small_recipe(TINY_LITE)
    size = config.model.image_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta_model(config.model).encode_image(torch.zeros(N_ITEMS, 3, size, size, device="meta"))
    image = counter.get_total_flops() / N_ITEMS
    learning = training_flops(config) - 2 * 3 * text_and_pairs()
    assert 2.5 * image < learning <= 3 * image  # the gradient of the pixels is not needed


def test_an_image_whose_features_are_cached_costs_its_text_and_its_pairs():
    locked = small_recipe(lock={"image": "all", "cache": True})
    by_image = N_ITEMS * EMBED_DIM  # each text with every image, by whose features nothing is derived
    assert training_flops(locked) == 2 * (3 * text_and_pairs() - by_image)


def text_and_pairs() -> int:
    text = transformer(TEXT_WIDTH, CONTEXT_LENGTH) + TEXT_WIDTH * EMBED_DIM
    return text + 2 * N_ITEMS * EMBED_DIM  # each image with every text, and each text with every image


@pytest.mark.parametrize(
    ("kind", "size"),
    [("bag_of_words", "n_words"), ("visual_ngrams", "n_ngrams"), ("static_softmax", "n_labels")],
)
def test_a_dictionary_costs_a_linear_layer(kind, size):
    few, more = (
        training_flops(small_recipe(TINY_RESNET, objective={"kind": kind, size: n})) for n in (100, 150)
    )
    assert more - few == 2 * 3 * EMBED_DIM * 50


@pytest.mark.parametrize("kind", ["virtex", "icmlm"])
def test_layers_that_read_the_caption_count(kind):
    one, two = (
        training_flops(small_recipe(objective={"kind": kind, "width": 16, "layers": layers, "heads": 2}))
        for layers in (1, 2)
    )
    assert two > one > training_flops(small_recipe(objective={"kind": "static_softmax", "n_labels": 1}))


def test_counting_draws_no_random_number():
    before = torch.get_rng_state()
    training_flops(small_recipe())
    training_flops(small_recipe(objective={"kind": "virtex"}))
    assert torch.equal(torch.get_rng_state(), before)
