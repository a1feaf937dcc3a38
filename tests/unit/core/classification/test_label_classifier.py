import asyncio
import tracemalloc
from typing import Any

import numpy as np
import pytest

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.errors import EncoderFailed, InvalidValue, TooLarge
from unit.core.core_fakes import FakeEncoder, FakeMetrics, fake_embedder, model_info, unit_vector

IMAGES = np.stack([unit_vector("b"), unit_vector("c")])


def classifier(encoder: FakeEncoder | None = None, metrics: Any = None, **changes: Any) -> LabelClassifier:
    limits = {
        name: changes.pop(name)
        for name in ("max_labels", "max_label_texts", "max_cached_labels")
        if name in changes
    }
    metrics = metrics or FakeMetrics()
    return LabelClassifier(
        model=model_info(**changes),
        embedder=fake_embedder(encoder or FakeEncoder(), max_items=8, metrics=metrics),
        metrics=metrics,
        **limits,
    )


def classify(
    part: LabelClassifier, labels: list[str], templates: tuple[str, ...] = ("{}",), **options: Any
) -> Any:
    return asyncio.run(part.classify(IMAGES, labels, templates, **options))


def test_scores_are_the_softmax_of_scaled_cosines_best_first() -> None:
    labels = ["a", "b", "c"]
    predictions = classify(classifier(), labels)
    assert [image[0].label for image in predictions] == ["b", "c"]
    cosines = np.array([unit_vector("b") @ unit_vector(label) for label in labels])
    expected = np.exp(20 * cosines) / np.exp(20 * cosines).sum()
    for prediction in predictions[0]:
        index = labels.index(prediction.label)
        assert prediction.score == pytest.approx(expected[index], rel=1e-4)
        assert prediction.cosine == pytest.approx(cosines[index], abs=1e-6)
    assert sum(prediction.score for prediction in predictions[0]) == pytest.approx(1)


def test_label_embedding_is_the_unit_mean_over_templates() -> None:
    part = classifier()
    (row,) = asyncio.run(part.label_embeddings(["x"], ["a {}", "the {}"]))
    mean = unit_vector("a x") + unit_vector("the x")
    assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


async def test_repeated_label_costs_no_encoding() -> None:
    encoder, metrics = FakeEncoder(), FakeMetrics()
    part = classifier(encoder, metrics)

    await part.label_embeddings(["a", "b"], ["{}"])
    first = await part.label_embeddings(["b", "c"], ["{}"])
    again = await part.label_embeddings(["b", "c"], ["{}"])
    assert np.array_equal(first, again)
    await part.label_embeddings(["b"], ["the {}"])
    assert encoder.texts == ["a", "b", "c", "the b"]
    assert metrics.label_cache == {"hit": 3, "miss": 4}


def test_more_labels_than_the_queue_and_the_cache_hold_are_encoded_in_pieces() -> None:
    metrics = FakeMetrics()
    part = classifier(metrics=metrics, max_cached_labels=5)
    labels = [f"l{n}" for n in range(50)]
    rows = asyncio.run(part.label_embeddings(labels, ["{}", "a {}"]))
    assert rows.shape == (50, 8)
    asyncio.run(part.label_embeddings(labels[-5:], ["{}", "a {}"]))
    assert metrics.label_cache == {"hit": 5, "miss": 50}
    asyncio.run(part.label_embeddings(labels[:1], ["{}", "a {}"]))
    assert metrics.label_cache["miss"] == 51


def test_multi_label_of_clip_compares_each_label_with_the_empty_one() -> None:
    alone = classify(classifier(), ["b"], ("{}",), multi_label=True)
    beside = classify(classifier(), ["b", "z"], ("{}",), multi_label=True)
    logits = 20 * np.array([IMAGES[0] @ unit_vector("b"), IMAGES[0] @ unit_vector("")])
    expected = np.exp(logits[0]) / np.exp(logits).sum()
    assert alone[0][0].score == pytest.approx(expected, rel=1e-4)
    assert next(p for p in beside[0] if p.label == "b").score == pytest.approx(expected, rel=1e-4)


def test_multi_label_of_siglip_is_its_own_sigmoid() -> None:
    part = classifier(family="siglip", logit_scale=10.0, logit_bias=-5.0)
    (best,) = classify(part, ["b"], multi_label=True)[0]
    assert best.score == pytest.approx(1 / (1 + np.exp(-(10 * best.cosine - 5))), rel=1e-4)


def test_top_k_cuts_the_list_but_not_the_softmax() -> None:
    full, cut = classify(classifier(), ["a", "b", "c"]), classify(classifier(), ["a", "b", "c"], top_k=1)
    assert cut[0] == full[0][:1]
    assert len(classify(classifier(), ["a"], top_k=9)[0]) == 1


def test_braces_in_a_label_are_text() -> None:
    encoder = FakeEncoder()
    classify(classifier(encoder), ["{0}"], ("a {}",))
    assert encoder.texts == ["a {0}"]


@pytest.mark.parametrize(
    ("labels", "templates", "item"),
    [
        ([], ["{}"], "labels"),
        (["a", " "], ["{}"], r"labels\[1\]"),
        (["a", "b", "a"], ["{}"], r"labels\[2\]: 'a' is labels\[0\] too"),
        (["a", "no!"], ["{}"], r"labels\[1\]"),
        (["a"], [], "templates"),
        (["a"], ["{}", "{} {}"], r"templates\[1\]"),
        (["a"], ["none"], r"templates\[0\]"),
        (["a", "b" * 1001], ["{}"], r"labels\[1\]: a label of 1001 characters, the limit is 1000"),
        (["a"], ["{}" + "b" * 999], r"templates\[0\]: a template of 1001 characters, the limit is 1000"),
    ],
)
def test_bad_labels_and_templates_are_named(labels: list[str], templates: list[str], item: str) -> None:
    with pytest.raises(InvalidValue, match=item):
        classify(classifier(), labels, tuple(templates))


async def test_bad_label_after_cached_ones_is_named_by_its_place_in_the_request() -> None:
    part = classifier()
    classify_twice = [["a", "b"], ["a", "b", "c", "no!"]]

    await part.label_embeddings(classify_twice[0], ["{}", "a {}"])
    with pytest.raises(InvalidValue, match=r"labels\[3\]"):
        await part.label_embeddings(classify_twice[1], ["{}", "a {}"])
    with pytest.raises(EncoderFailed):
        await part.label_embeddings(["why?"], ["{}"])


def test_label_that_was_cut_says_so_from_the_cache_too() -> None:
    part = classifier()
    for _ in range(2):
        of_image = classify(part, ["b", "far too long"], ("{}",))[0]
        assert {one.label: one.truncated for one in of_image} == {"b": False, "far too long": True}


def test_label_counts_as_cut_if_one_of_its_templates_is() -> None:
    of_image = classify(classifier(), ["b"], ("{}", "a drawing of {}"))[0]
    assert of_image[0].truncated


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ({"max_labels": 2}, "3 labels, the limit is 2"),
        ({"max_label_texts": 5}, "templates: 3 labels in 2 templates are 6 texts, the limit is 5"),
    ],
)
def test_too_many_labels_are_refused(limit: dict[str, int], complaint: str) -> None:
    with pytest.raises(TooLarge, match=complaint):
        classify(classifier(**limit), ["a", "b", "c"], ("{}", "a {}"))


def test_texts_of_many_labels_in_many_templates_are_never_all_in_memory() -> None:
    templates = [f"{n}" + "x" * 900 + "{}" for n in range(10)]
    labels = ["y" * 900 + str(n) for n in range(100)]
    part = classifier()
    tracemalloc.start()
    rows = asyncio.run(part.label_embeddings(labels, templates))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (100, 8)
    assert peak < 1_000_000  # all the texts at once are 1.8 MB


def test_new_list_that_comes_in_many_requests_at_once_is_encoded_once_and_refused_to_none() -> None:
    encoder, metrics = FakeEncoder(), FakeMetrics()
    part, labels = classifier(encoder, metrics), [f"l{n}" for n in range(16)]  # each holds half the queue

    async def run() -> list[Any]:
        return await asyncio.gather(*(part.classify(IMAGES, labels, ["{}"]) for _ in range(8)))

    first, *others = asyncio.run(run())
    assert all(other == first for other in others)
    assert sorted(encoder.texts) == sorted(labels)
    assert metrics.label_cache == {"miss": 16, "hit": 7 * 16}
    assert not metrics.rejected
