"""Training FLOPs of a recipe, beside numbers worked out by hand."""

import torch

from diptych_training.models.clip import grouped_length
from diptych_training.train.flops import training_flops
from support.small_recipe import N_ITEMS, small_recipe

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


def test_an_image_whose_features_are_cached_costs_its_text_and_its_pairs():
    locked = small_recipe(lock={"image": "all", "cache": True})
    by_image = N_ITEMS * EMBED_DIM  # each text with every image, by whose features nothing is derived
    assert training_flops(locked) == 2 * (3 * text_and_pairs() - by_image)


def text_and_pairs() -> int:
    text = transformer(TEXT_WIDTH, CONTEXT_LENGTH) + TEXT_WIDTH * EMBED_DIM
    return text + 2 * N_ITEMS * EMBED_DIM  # each image with every text, and each text with every image


def test_captions_are_as_long_as_the_longest_of_their_group_of_similar_length():
    lengths = [3] * 32 + [4] * 31 + [9]
    input_ids = torch.zeros(64, 20, dtype=torch.int64)
    for row, length in zip(input_ids, lengths, strict=True):
        row[length - 1] = 99
    assert grouped_length(input_ids.flip(0)) == (32 * 3 + 32 * 9) / 64


def test_shorter_captions_cost_less_and_images_as_much():
    config = small_recipe()
    short, long, full = (training_flops(config, length) for length in (4, 8, None))
    assert short < long < full == training_flops(config, config.model.text.context_length)
