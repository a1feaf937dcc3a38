"""What any store must do with the words of images: which rows match, and how they change with the row."""

from collections.abc import Sequence

import numpy as np

from diptych.core.collections.metadata.words import parse_words
from diptych.core.collections.stored.ports import Records
from diptych.core.types import Metadata, NewRow
from integration.store_contract import Ports, Run
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import row as row_of
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture


def row(id: str, metadata: Metadata | None, content: str = "") -> NewRow:
    return row_of(id, (content or id).encode().hex()[:64], metadata)


async def put(store: Records, c: int, *rows: NewRow, replace: bool = False) -> Sequence[int]:
    written = await store.writer.put(c, rows, identity="first", replace=replace)
    return [result.key for result in written.results]


async def ids(store: Records, c: int, text: str) -> list[str]:
    """The ids of the rows that match, best first."""
    found = await store.words.matching(c, parse_words(text))
    records = await store.rows.by_key(found.keys.tolist())
    return [records[key].id for key in found.keys.tolist()]


def test_rows_match_that_have_all_words_in_any_of_their_texts(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, c = ports.records, await ports.created()
        rows = {
            "a": {"caption": "A black cat", "tags": ["sofa", "Malmö"]},
            "b": {"note": "black", "file": {"name": "IMG_1234.JPG", "folder": "cats/rome"}},
            "c": {"caption": "猫が東京にいる", "note": "a cat, black"},
        }
        await put(store, c, *(row(id, metadata) for id, metadata in rows.items()))
        expected = {
            "cat": {"a", "c"},
            "black cat": {"a", "c"},
            '"black cat"': {"a"},
            '"cat sofa"': set[str](),
            '"sofa malmo"': set[str](),
            "sofa malmo cat": {"a"},
            "ca*": {"a", "b", "c"},
            "img_1234.jpg": {"b"},
            "img_12": set[str](),
            "img_12*": {"b"},
            "猫": {"c"},
            "東京": {"c"},
            "京東": set[str](),
            "a": {"a", "c"},
            "": set[str](),
            "🐱": set[str](),
        }
        assert {text: {*await ids(store, c, text)} for text in expected} == expected

    run(story)


def test_names_come_before_captions_and_captions_before_other_texts(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, c = ports.records, await ports.created()
        ids_of = [f"{digit}".rjust(32, "0") for digit in "123456"]
        texts: list[Metadata] = [
            {"note": "cat"},
            {"caption": "cat"},
            {"file": {"name": "cat.jpg"}},
            {"note": "cat"},
        ]
        others: list[Metadata] = [{"note": "dog"}, {"note": "dog"}]
        keys = await put(store, c, *(row(*pair) for pair in zip(ids_of, [*texts, *others], strict=True)))
        found = await store.words.matching(c, parse_words("cat"))
        assert found.keys.tolist() == [keys[2], keys[1], keys[0], keys[3]]  # the same score: by key
        assert found.scores.tolist() == sorted(found.scores, reverse=True)
        assert found.scores[1] > found.scores[2] == found.scores[3]
        assert found.keys.dtype == np.int64

    run(story)


def test_words_change_with_the_row(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, c = ports.records, await ports.created()
        first = row("a", {"n": "one"})
        await put(store, c, first, row("b", {"n": "one"}), row("d", {"n": "one"}))
        await put(store, c, row("a", {"n": "two"}))  # the same image: its metadata stay
        assert await ids(store, c, "one") == ["a", "b", "d"]
        await put(store, c, row("a", {"n": "two"}), replace=True)
        assert (await ids(store, c, "one"), await ids(store, c, "two")) == (["b", "d"], ["a"])
        twice = [row("a", {"n": "two"}, "new"), row("a", {"n": "three"}, "new"), row("a", None, "other")]
        await put(store, c, *twice, row("a", {"n": "three"}, "other"), replace=True)
        assert (await ids(store, c, "two"), await ids(store, c, "three")) == ([], ["a"])
        await store.writer.patch(c, "b", {"n": None, "m": "four"}, 1000)
        assert (await ids(store, c, "one"), await ids(store, c, "four")) == (["d"], ["b"])
        (key,) = await store.rows.keys(c, ["d"])
        await store.writer.add_exif(c, {key: {"camera": "Five"}}, None)
        assert (await ids(store, c, "one five"), await ids(store, c, "one")) == (["d"], ["d"])
        await store.writer.delete(c, await store.rows.keys(c, ["a", "d"]))
        assert (await ids(store, c, "three"), await ids(store, c, "one")) == ([], [])
        found = await store.words.matching(c, parse_words("four"))
        assert (len(found.keys), found.n_indexed, found.n_images) == (1, 1, 1)
        assert found.change == await store.vectors.last_change(c)

    run(story)


def test_other_fields_are_indexed_again_and_collections_have_words_of_their_own(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, c, other = ports.records, await ports.created(), await ports.created("other")
        await put(store, c, row("a", {"m": "one", "n": "two"}), row("b", {"m": "two"}))
        await put(store, other, row("c", {"n": "two"}))
        await store.catalogue.change(c, "c", "none", ("n",))
        found = await store.words.matching(c, parse_words("two"))
        assert (len(found.keys), found.n_indexed, found.n_images) == (0, 0, 2)
        while await store.words.index_next(c):
            pass
        assert (await ids(store, c, "two"), await ids(store, c, "one")) == (["a"], [])
        await store.catalogue.drop(c)
        await store.catalogue.clear(c, 9)
        assert await ids(store, other, "two") == ["c"]

    run(story)
