"""Which images an export is proven on, and how golden files are made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.evaluate.proof_set.samples import (
    draw_sample,
    even_shares,
    held_out,
    shortage,
)
from diptych_training.export.proof.golden_items import VARIANTS, make_golden
from diptych_training.train.tokenizer import train_tokenizer
from support.tiny_run import IMAGE_SIZE, tiny_image_spec, tiny_text_spec, write_tiny_dataset


@pytest.mark.parametrize(
    ("available", "wanted", "shares"),
    [
        ([10, 10, 10], 6, [2, 2, 2]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([10, 1, 2], 100, [10, 1, 2]),
        ([3, 3], 5, [3, 2]),
        ([], 5, []),
    ],
)
def test_shares_are_even_and_small_sources_are_made_up_for(
    available: list[int], wanted: int, shares: list[int]
) -> None:
    assert even_shares(available, wanted) == shares


def test_a_sample_is_held_out_spread_and_the_same_every_time(tmp_path: Path) -> None:
    dataset = write_tiny_dataset(tmp_path, n_icons=30)

    first, second = draw_sample(dataset, 40), draw_sample(dataset, 40)

    assert np.array_equal(first.images, second.images)
    assert len(first.images) == len(first.accepted) == 40
    assert set(emoji_classes()[:10]) <= set(first.texts)
    assert len(set(first.texts)) == len(first.texts)


def test_eval_is_drawn_from_only_where_validation_has_too_few_images(tmp_path: Path) -> None:
    dataset = write_tiny_dataset(tmp_path, n_icons=30)  # validation has 40 images
    entries = {name: entry for name, entry in dataset.entries.items() if entry.split != "validation"}

    assert held_out(dataset, 40) == ("validation",)
    assert held_out(dataset, 41) == ("eval", "validation")
    assert len(draw_sample(dataset, 41).images) == 41
    assert len(draw_sample(replace(dataset, entries=entries), 5).images) == 5


def test_a_data_set_that_cannot_prove_an_export_says_what_it_has_and_what_to_do(tmp_path: Path) -> None:
    few, enough = write_tiny_dataset(tmp_path / "few", n_icons=30), write_tiny_dataset(tmp_path / "enough")

    assert shortage(enough) is None
    said = shortage(few)
    assert said is not None
    assert "80 held-out images with 40 texts, at least 1,000 and 100 are needed" in said
    assert all(way in said for way in ("--validation", "--eval", "export --data", "export --ungated"))


class SameEncoder:
    """Answers one unit row to everything."""

    def encode_image(self, pixels: Pixels) -> Embeddings:
        return np.eye(1, 4, dtype=np.float32).repeat(len(pixels), axis=0)

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        return np.eye(1, 4, dtype=np.float32).repeat(len(input_ids), axis=0)


def test_every_way_to_reencode_an_image_gives_a_readable_golden_file(tmp_path: Path) -> None:
    train_tokenizer(["sun"], 600).save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", tiny_text_spec())
    noise = np.random.default_rng(0).integers(0, 256, (len(VARIANTS), 24, 40, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]

    golden = make_golden(images, ["sun", "sun"], SameEncoder(), tokenizer, tiny_image_spec())

    assert golden.pixels.shape == (len(VARIANTS), IMAGE_SIZE, IMAGE_SIZE, 3)
    assert golden.texts.count("sun") == 1
    assert len(golden.texts) == len(golden.text_embedding) == len(golden.input_ids)
