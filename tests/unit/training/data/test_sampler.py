"""Which items a step sees."""

from collections import Counter

import numpy as np
import pytest

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.config import CaptionConfig, DataConfig
from diptych_training.data.captions import CaptionSampler, all_texts
from diptych_training.data.packed import PackedItem
from diptych_training.data.sampler import MixtureSampler, SourceWeights, step_rng
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer

SOURCES = [
    SourceWeights("noto", "emoji", np.array([1.0, 1.0, 0.1])),
    SourceWeights("tabler", "icons", np.ones(5)),
    SourceWeights("lucide", "icons", np.ones(15)),
]


def shares(config: DataConfig) -> np.ndarray:
    drawn = MixtureSampler(SOURCES, config).sample(200_000, step_rng(0, 0))
    return np.bincount(drawn, minlength=23) / len(drawn)


def test_kinds_are_drawn_by_their_mixture_and_items_by_their_weight():
    found = shares(DataConfig(mixture={"emoji": 1.0, "icons": 3.0}))
    assert found[:3].sum() == pytest.approx(0.25, abs=0.01)
    assert found[2] == pytest.approx(found[0] / 10, abs=0.01)
    assert found[3:] == pytest.approx(np.full(20, 0.75 / 20), abs=0.003)


def test_a_step_draws_the_same_items_every_time_and_others_than_its_neighbour():
    sampler = MixtureSampler(SOURCES, DataConfig())
    assert np.array_equal(sampler.sample(50, step_rng(7, 3)), sampler.sample(50, step_rng(7, 3)))
    assert not np.array_equal(sampler.sample(50, step_rng(7, 3)), sampler.sample(50, step_rng(7, 4)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(mixture={"photos": 1.0}), "data.mixture: photos not in the data"),
        (DataConfig(source_weights={"mdi": 1.0}), "data.source_weights: mdi not in the data"),
        (DataConfig(mixture={"emoji": 0.0}), "all weights are zero"),
        (DataConfig(source_weights={"noto": 0.0}), "data.mixture.emoji is 1.0, but"),
    ],
)
def test_a_mixture_that_the_data_cannot_give_is_refused(config, message):
    with pytest.raises(TrainingConfigError, match=message):
        MixtureSampler(SOURCES, config)


ITEM = PackedItem("1", "red heart", keywords=("love", "valentine"), captions=("symbols: heart",))
BARE = PackedItem("2", "arrow left")
TEMPLATES = ("an icon of {}", "{} emoji")
SPEC = TextSpec(context_length=12, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(train_tokenizer([*all_texts([ITEM, BARE]), *TEMPLATES], 600), path)
    return TextTokenizer(path, SPEC)


def drawn(
    tokenizer: TextTokenizer, config: CaptionConfig, index: int, n: int = 400
) -> Counter[tuple[int, ...]]:
    sampler = CaptionSampler([ITEM, BARE], tokenizer, config, SPEC)
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


def test_an_over_long_caption_keeps_its_end_of_text(tokenizer):
    wordy = PackedItem("3", " ".join(["heart"] * 30))
    sampler = CaptionSampler([wordy], tokenizer, CaptionConfig(), SPEC)
    row = sampler.sample(0, np.random.default_rng(0))
    assert tuple(row) == ids(tokenizer, wordy.label)
    assert len(row) == 12


def test_a_keyword_or_a_synonym_of_the_label_may_be_the_whole_caption(tokenizer, tmp_path):
    file = tmp_path / "synonyms.tsv"
    file.write_text("red heart\tlove\tvalentine heart\nother\tred\n")
    config = CaptionConfig(caption=0.5, keyword=0.5, label_keywords=0, synonyms=str(file))
    texts = ["red heart", "symbols: heart", "love", "valentine heart", "valentine"]
    assert set(drawn(tokenizer, config, 0)) == {ids(tokenizer, text) for text in texts}


def test_a_missing_file_of_synonyms_says_what_writes_one(tokenizer, tmp_path):
    config = CaptionConfig(synonyms=str(tmp_path / "none.tsv"))
    with pytest.raises(DataError, match=r"data.captions.synonyms: .*none.tsv cannot be read.*data wordnet"):
        CaptionSampler([ITEM], tokenizer, config, SPEC)
