from diptych.core.classification.label_cache import list_key
from diptych.core.encoding.weighed_cache import WeighedCache


def test_list_is_found_under_its_templates_and_labels_in_their_order() -> None:
    cache: WeighedCache[object, str] = WeighedCache(10)
    cache.put(list_key(["{}"], ["a", "b"]), "kept", 2)
    assert cache.get(list_key(["{}"], ["a", "b"])) == "kept"
    assert cache.get(list_key(["{}"], ["b", "a"])) is None
    assert cache.get(list_key(["a {}"], ["a", "b"])) is None


def test_what_was_used_longest_ago_makes_room() -> None:
    cache: WeighedCache[str, str] = WeighedCache(10)
    for name in "abc":
        cache.put(name, name, 3)
    assert cache.get("a") == "a"
    cache.put("d", "d", 3)
    assert [cache.get(name) for name in "abcd"] == ["a", None, "c", "d"]


def test_what_is_over_the_bound_is_not_kept_and_drives_nothing_out() -> None:
    cache: WeighedCache[str, str] = WeighedCache(10)
    cache.put("a", "a", 3)
    cache.put("b", "b", 11)
    assert (cache.get("a"), cache.get("b")) == ("a", None)


def test_what_is_put_twice_weighs_once() -> None:
    cache: WeighedCache[str, str] = WeighedCache(10)
    for _ in range(5):
        cache.put("a", "a", 6)
    cache.put("b", "b", 4)
    assert (cache.get("a"), len(cache)) == ("a", 2)
