"""Scores of sets of pictures: one list of labels over all sources, and its parts, by hand."""

from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.refresh.evaluation.picture_set import (
    EmbeddedSet,
    among_labels_of,
    open_sets,
    score_set,
)
from support.picture_sets import write_pictures
from support.tiny_tokenizer import write_tiny_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    write_tiny_tokenizer(tmp_path / "tokenizer.json")
    spec = TextSpec(context_length=6, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})
    return TextTokenizer(tmp_path / "tokenizer.json", spec)


def test_all_sources_share_one_list_of_labels(tmp_path: Path, tokenizer: TextTokenizer):
    dataset = write_pictures(
        tmp_path / "proof",
        {
            "a": ("validation", "emoji", ["red", "blue"]),
            "b": ("validation", "pairs", ["green", "red", "green"]),
            "old": ("train", "icons", ["white"]),
        },
    )

    (opened,) = open_sets([dataset], tokenizer)

    assert (opened.name, len(opened), opened.labels) == ("proof", 5, ("blue", "green", "red"))
    assert opened.parts() == ["drawings", "photographs"]
    assert opened.of_part("photographs").tolist() == [2, 3, 4]
    assert opened.captions().tolist() == [2, 0, 1, 2, 1]
    assert [(source.name, index) for source, index in opened.pictures()][2:4] == [("b", 0), ("b", 1)]


def test_labels_with_the_same_tokens_are_one_label_in_all_sets(tmp_path: Path, tokenizer: TextTokenizer):
    own = write_pictures(tmp_path / "own", {"a": ("validation", "pairs", ["RED", "blue", "red"])})
    shipped = write_pictures(
        tmp_path / "proof", {"b": ("validation", "icons", ["red ", "redredredred a", "redredredred b"])}
    )

    first, second = open_sets([own, shipped], tokenizer)

    assert first.labels == ("RED", "blue")
    assert [set(names) for names in first.accepted] == [{"RED"}, {"blue"}, {"RED"}]
    assert second.labels[0] == "RED"
    # Longer than the context: cut off, the last two are the same.
    assert second.labels[1:] == ("redredredred a",)


def test_captions_that_differ_in_articles_case_or_punctuation_are_one_label_in_all_sets(
    tmp_path: Path, tokenizer: TextTokenizer
):
    own = write_pictures(
        tmp_path / "own", {"a": ("validation", "pairs", ["a red", "Red.", "the red", "red-blue"])}
    )
    shipped = write_pictures(tmp_path / "proof", {"b": ("validation", "icons", ["red", "red blue"])})

    first, second = open_sets([own, shipped], tokenizer)

    assert len(first.labels) == 2
    assert [len({*names}) for names in first.accepted] == [1, 1, 1, 1]
    assert len(set(first.accepted[:3])) == 1
    assert first.labels == second.labels


def test_photographs_are_counted_where_each_source_has_the_crops_of_one(
    tmp_path: Path, tokenizer: TextTokenizer
):
    crops = {name: ("validation", "pairs", [name] * 3) for name in ("red", "blue")}
    drawn = {"drawn": ("validation", "icons", ["red", "white"])}
    (of_crops,) = open_sets([write_pictures(tmp_path / "a", {**crops, **drawn})], tokenizer)
    mixed = {"many": ("validation", "pairs", ["red", "blue"])}
    (of_pictures,) = open_sets([write_pictures(tmp_path / "b", {**mixed, **drawn})], tokenizer)

    assert (of_crops.n_photographs(), of_pictures.n_photographs()) == (2, None)


def test_scores_of_the_whole_set_and_of_a_part_by_hand(tmp_path: Path, tokenizer: TextTokenizer):
    dataset = write_pictures(
        tmp_path / "proof",
        {"a": ("validation", "emoji", ["blue", "red"]), "b": ("validation", "pairs", ["green", "red"])},
    )
    (opened,) = open_sets([dataset], tokenizer)
    labels = np.eye(3, dtype=np.float32)  # blue, green, red
    images = np.array([[0.9, 0.1, 0.3], [0.8, 0.1, 0.2], [0.5, 0.4, 0.6], [0.3, 0.2, 0.9]], dtype=np.float32)
    embedded = EmbeddedSet(opened, images, class_rows=labels, text_rows=labels)

    whole, part = score_set(embedded), score_set(embedded, opened.of_part("photographs"))

    assert whole.ranks == (0, 1, 2, 0)
    assert (whole.n, whole.n_labels, whole.top(1), whole.top(5)) == (4, 3, 0.5, 1)
    # blue finds picture 0, green picture 2, red picture 3 first: all right
    assert whole.text_to_image == {1: 1, 5: 1, 10: 1}
    assert whole.image_to_text == {1: 0.5, 5: 1, 10: 1}
    # Among all three labels, but retrieval only among green and red: picture 2 is nearer to red.
    assert (part.ranks, part.captions, part.n_labels) == ((2, 0), (1, 2), 3)
    assert part.image_to_text[1] == 0.5
    assert part.text_to_image[1] == 1


def test_labels_of_another_set_are_further_candidates_but_not_the_same_label_in_other_words(
    tmp_path: Path, tokenizer: TextTokenizer
):
    own = write_pictures(tmp_path / "own", {"a": ("validation", "pairs", ["red"])})
    shipped = write_pictures(tmp_path / "proof", {"b": ("validation", "icons", ["The red", "white"])})
    (few,), (other,) = (open_sets([dataset], tokenizer) for dataset in (own, shipped))
    rows = np.eye(3, dtype=np.float32)  # red, the red, white
    image = np.array([[0.5, 0.9, 0.7]], dtype=np.float32)
    embedded = EmbeddedSet(few, image, class_rows=rows[:1], text_rows=rows[:1])
    among = EmbeddedSet(other, np.zeros((2, 3), np.float32), class_rows=rows[1:], text_rows=rows[1:])

    found = score_set(among_labels_of(embedded, among))

    assert (score_set(embedded).ranks, found.ranks, found.n_labels) == ((0,), (1,), 2)
