import numpy as np

from diptych.core.classifiers import Classifier, ClassifierCache, list_key


def classifier(n_labels: int) -> Classifier:
    return Classifier(np.zeros((n_labels, 2), np.float32), (False,) * n_labels)


def key(name: str) -> object:
    return list_key(["{}"], [name])


def test_list_is_found_under_its_templates_and_labels_in_their_order() -> None:
    cache, kept = ClassifierCache(10), classifier(2)
    cache.put(list_key(["{}"], ["a", "b"]), kept)
    assert cache.get(list_key(["{}"], ["a", "b"])) is kept
    assert cache.get(list_key(["{}"], ["b", "a"])) is None
    assert cache.get(list_key(["a {}"], ["a", "b"])) is None


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = ClassifierCache(10)
    for name in "abc":
        cache.put(key(name), classifier(3))
    assert cache.get(key("a")) is not None
    cache.put(key("d"), classifier(3))
    assert [cache.get(key(name)) is not None for name in "abcd"] == [True, False, True, True]


def test_list_over_the_bound_is_not_kept_and_drives_nothing_out() -> None:
    cache = ClassifierCache(10)
    cache.put(key("a"), classifier(3))
    cache.put(key("b"), classifier(11))
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) is not None


def test_list_that_is_put_twice_counts_once() -> None:
    cache = ClassifierCache(10)
    for _ in range(5):
        cache.put(key("a"), classifier(6))
    cache.put(key("b"), classifier(4))
    assert cache.get(key("a")) is not None


def test_without_room_nothing_is_kept() -> None:
    cache = ClassifierCache(0)
    cache.put(key("a"), classifier(1))
    assert cache.get(key("a")) is None
