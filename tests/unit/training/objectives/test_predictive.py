"""Bag of words, static softmax and visual n-grams: equal to the formulas of their papers on tiny cases."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych_training.objectives.bag_of_words import BagOfWords, BagOfWordsConfig
from diptych_training.objectives.static_softmax import StaticSoftmax, StaticSoftmaxConfig
from diptych_training.objectives.visual_ngrams import VisualNgrams, VisualNgramsConfig
from diptych_training.objectives.words import Captions, key_of
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer
from support.tiny_run import tiny_text_spec

ITEMS = [["red apple", "apple"], ["green apple"], ["red car"], ["red car", "a fast red car"]]
CAPTIONS = ["red apple", "a fast red car", "?"]
RNG = np.random.default_rng(0)


@pytest.fixture
def captions(tmp_path: Path) -> Captions:
    texts = [text for item in ITEMS for text in item]
    write_tokenizer(train_tokenizer(texts, 560), tmp_path / "tokenizer.json")
    return Captions(tmp_path / "tokenizer.json", tiny_text_spec())


def ids_of(captions: Captions, texts: list[str]) -> torch.Tensor:
    rows = [torch.from_numpy(captions.ids(text)).long() for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def labels_of(texts: list[str]) -> torch.Tensor:
    return torch.tensor([key_of(text.encode()) for text in texts])


def softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def test_the_dictionary_of_words_are_the_most_frequent_ones(captions):
    found = BagOfWordsConfig(n_words=3).dictionary(ITEMS, captions)
    assert list(found.items()) == [("red", 4), ("car", 3), ("apple", 3)]


def test_bag_of_words_is_the_multiclass_logistic_loss(captions):
    words = BagOfWordsConfig(n_words=4).dictionary(ITEMS, captions)
    objective = BagOfWords(BagOfWordsConfig(), 3, captions, words)
    features = torch.randn(3, 3)
    expected = 0.0
    for feature, caption in zip(features, CAPTIONS, strict=True):
        p = softmax((objective.words.weight @ feature + objective.words.bias).tolist())
        expected -= sum(math.log(p[index]) for index, word in enumerate(words) if word in caption.split())
    texts = objective.targets(ids_of(captions, CAPTIONS), labels_of(CAPTIONS), RNG)
    assert objective.loss(features, texts).item() == pytest.approx(expected / 3, rel=1e-5)


def test_bag_of_words_scores_a_name_by_the_words_that_it_knows(captions):
    words = {"red": 4, "car": 3, "apple": 3}
    objective = BagOfWords(BagOfWordsConfig(), 3, captions, words)
    features = torch.randn(2, 3)
    found = objective.class_scores(features, ["Red car", "blue car", "sea"], ["{}", "an apple {}"])
    for row, feature in zip(found.tolist(), features, strict=True):
        log_p = dict(zip(words, map(math.log, softmax(objective.words(feature).tolist())), strict=True))
        bare = (log_p["red"] + log_p["car"]) / 2
        with_template = (log_p["apple"] + log_p["red"] + log_p["car"]) / 3
        assert row[0] == pytest.approx((bare + with_template) / 2, rel=1e-5)
        assert row[1] == pytest.approx((log_p["car"] + (log_p["apple"] + log_p["car"]) / 2) / 2, rel=1e-5)
        assert row[2] == -math.inf


def test_balanced_bag_of_words_learns_each_word_as_often(captions):
    """Each item is drawn by its weight, then one word of it."""
    items = ["red", *["red apple"] * 3, *["red car"] * 16]
    config = BagOfWordsConfig(balanced=True)
    objective = BagOfWords(config, 3, captions, config.dictionary([[text] for text in items], captions))
    weights = np.array([objective.weight([text]) for text in items])
    rng = np.random.default_rng(0)
    drawn = [items[index] for index in rng.choice(len(items), 3000, p=weights / weights.sum())]
    targets = objective.targets(ids_of(captions, drawn), labels_of(drawn), rng).targets
    assert targets.shape == (3000, 1)
    assert np.bincount(targets.flatten()) / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_static_softmax_is_the_cross_entropy_of_the_label(captions):
    vocabulary = StaticSoftmaxConfig(n_labels=2).dictionary(ITEMS, captions)
    assert vocabulary == ("red car", "red apple")
    objective = StaticSoftmax(StaticSoftmaxConfig(), 3, captions, vocabulary)
    features = torch.randn(3, 3)
    labels = ["red apple", "red car", "green apple"]
    expected = -math.log(softmax(objective.labels(features[0]).tolist())[1])
    expected -= math.log(softmax(objective.labels(features[1]).tolist())[0])
    texts = objective.targets(ids_of(captions, labels), labels_of(labels), RNG)
    assert objective.loss(features, texts).item() == pytest.approx(expected / 3, rel=1e-5)


def test_the_static_softmax_scores_only_names_in_its_vocabulary(captions):
    objective = StaticSoftmax(StaticSoftmaxConfig(), 3, captions, ("red car", "red apple"))
    features = torch.randn(2, 3)
    found = objective.class_scores(features, ["Red Apple", "apple", "red car"], ["an icon of {}"])
    expected = objective.labels(features).log_softmax(dim=1)
    torch.testing.assert_close(found[:, [2, 0]], expected)
    assert found[:, 1].tolist() == [-math.inf, -math.inf]


def test_the_dictionary_of_ngrams_begins_with_what_longer_ones_are_made_of(captions):
    found = VisualNgramsConfig(n_ngrams=6, longest=3).dictionary(ITEMS, captions)
    assert found == ("red", "car", "apple", "red car", "a", "fast")


def reference_of_words(objective: VisualNgrams, feature: torch.Tensor, words: list[str]) -> list[float]:
    """The recursion of the paper, word for word; only words that the dictionary has."""
    logits = dict(zip(objective.dictionary, objective.ngrams(feature).tolist(), strict=True))
    smoothing, longest = objective.config.smoothing, objective.config.longest

    def observed(history: list[str], word: str) -> float:
        alike = {ngram: logit for ngram, logit in logits.items() if ngram.split(" ")[:-1] == history}
        ngram = " ".join([*history, word])
        return math.exp(alike[ngram]) / sum(map(math.exp, alike.values())) if ngram in alike else 0.0

    def probability(history: list[str], word: str) -> float:
        if not history:
            return observed([], word)
        return smoothing * observed(history, word) + (1 - smoothing) * probability(history[1:], word)

    return [
        math.log(probability(words[max(0, last - longest + 1) : last], words[last]))
        for last in range(len(words))
        if words[last] in logits
    ]


@pytest.mark.parametrize("n_ngrams", [5, 9, 14])
def test_visual_ngrams_is_the_jelinek_mercer_loss(captions, n_ngrams):
    config = VisualNgramsConfig(n_ngrams=n_ngrams, longest=3, smoothing=0.3)
    objective = VisualNgrams(config, 3, captions, config.dictionary(ITEMS, captions))
    features = torch.randn(3, 3)
    words = [["red", "apple"], ["a", "fast", "red", "car"], []]
    expected = -sum(
        sum(reference_of_words(objective, feature, of_caption))
        for feature, of_caption in zip(features, words, strict=True)
    )
    texts = objective.targets(ids_of(captions, CAPTIONS), labels_of(CAPTIONS), RNG)
    assert objective.loss(features, texts).item() == pytest.approx(expected / 3, rel=1e-4)


def test_an_ngram_that_is_unseen_after_an_unseen_word_costs_the_weight_of_longer_ones(captions):
    config = VisualNgramsConfig(longest=2, smoothing=0.3)
    objective = VisualNgrams(config, 3, captions, ("red", "apple", "red car"))
    alone, after_unseen = objective.class_scores(torch.randn(1, 3), ["apple", "blue apple"], ["{}"])[0]
    assert after_unseen.item() == pytest.approx(alone.item() + math.log(0.7), rel=1e-5)


def test_visual_ngrams_scores_a_name_by_the_mean_over_its_known_words(captions):
    config = VisualNgramsConfig(n_ngrams=9, longest=3)
    objective = VisualNgrams(config, 3, captions, config.dictionary(ITEMS, captions))
    features = torch.randn(2, 3)
    found = objective.class_scores(features, ["red car", "blue apple", "sea"], ["{}", "a {}"])
    for row, feature in zip(found.tolist(), features, strict=True):
        for score, name in zip(row, ["red car", "blue apple"], strict=False):
            both = [
                np.mean(reference_of_words(objective, feature, [*template, *name.split()]))
                for template in ([], ["a"])
            ]
            assert score == pytest.approx(np.mean(both), rel=1e-4)
        assert row[2] == -math.inf  # the bare name has no known word


@pytest.fixture
def captions_of_words(tmp_path: Path) -> Captions:
    write_tokenizer(train_tokenizer(["a red apple", "grün"], 560), tmp_path / "tokenizer.json")
    return Captions(tmp_path / "tokenizer.json", tiny_text_spec())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red  Apple", ("a", "red", "apple")),
        ("apple, no. 12!", ("apple", "no", "1", "2")),
        ("grün_it's", ("grün", "it", "s")),
        ("?!", ()),
    ],
)
def test_words_are_runs_of_letters_and_single_digits(captions_of_words, text, words):
    assert captions_of_words.words(text) == words


@pytest.mark.parametrize("text", ["A red Apple", "red 12!", "grün", "?!", ""])
def test_the_words_of_a_caption_are_read_back_from_its_ids(captions_of_words, text):
    ids = [*captions_of_words.ids(text).tolist(), 0, 0]
    assert captions_of_words.words_of(ids) == captions_of_words.words(text)
