"""Captions put together from pieces."""

from collections import Counter

import numpy as np
import pytest

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.config import CaptionConfig
from diptych_training.data.captions import CaptionSampler, all_texts
from diptych_training.data.packed import PackedItem
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer

ITEM = PackedItem("1", "red heart", keywords=("love", "valentine"), captions=("symbols: heart",))
BARE = PackedItem("2", "arrow left")
TEMPLATES = ("an icon of {}", "{} emoji")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(train_tokenizer([*all_texts([ITEM, BARE]), *TEMPLATES], 600), path)
    spec = TextSpec(context_length=12, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})
    return TextTokenizer(path, spec)


def drawn(
    tokenizer: TextTokenizer, config: CaptionConfig, index: int, n: int = 400
) -> Counter[tuple[int, ...]]:
    sampler = CaptionSampler([ITEM, BARE], tokenizer, config, context_length=12)
    rng = np.random.default_rng(0)
    return Counter(tuple(sampler.sample(index, rng).tolist()) for _ in range(n))


def ids(tokenizer: TextTokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.ids(text)[0].tolist())


def test_pieces_give_the_ids_of_the_whole_text(tokenizer):
    config = CaptionConfig(template_probability=0.5, templates=TEMPLATES, max_keywords=2)
    bodies = ["red heart", "red heart, love", "red heart, valentine, love", "red heart, love, valentine"]
    bodies += ["red heart, valentine", "symbols: heart"]
    texts = [template.format(body) for body in bodies for template in ("{}", *TEMPLATES)]
    assert set(drawn(tokenizer, config, 0)) == {ids(tokenizer, text) for text in texts}


def test_texts_are_drawn_by_their_weights(tokenizer):
    counts = drawn(tokenizer, CaptionConfig(label=0.5, label_keywords=0.0, caption=0.5), 0)
    assert counts[ids(tokenizer, "red heart")] == pytest.approx(200, abs=50)


def test_an_item_without_further_texts_shows_its_label(tokenizer):
    assert set(drawn(tokenizer, CaptionConfig(), 1)) == {ids(tokenizer, "arrow left")}


def test_an_over_long_caption_keeps_its_end_of_text(tokenizer):
    wordy = PackedItem("3", " ".join(["heart"] * 30))
    sampler = CaptionSampler([wordy], tokenizer, CaptionConfig(), context_length=12)
    row = sampler.sample(0, np.random.default_rng(0))
    assert tuple(row) == ids(tokenizer, wordy.label)
    assert len(row) == 12
