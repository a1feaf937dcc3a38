"""Versions are compared before a switch, and gates refuse it; texts of searches are recorded on request."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.sqlite.recorded_queries import SqliteQueries
from diptych.core.collections.search import SearchInput, WeightedQuery, search_collection
from diptych.core.rollout.compare import Comparer
from diptych.core.rollout.comparison import Gates
from diptych.core.types import CollectionChange, NewImage
from diptych.errors import Conflict, InvalidValue, NotFound
from integration.store_parts import COLOURS, EncoderGate, Opened, Run
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1})
N = 30


async def add_noise(opened: Opened, name: str = "default", n: int = N) -> None:
    """Add pictures, each with the colour word that the active version finds in it as `what.kind`."""
    pictures = [noise(seed) for seed in range(n)]
    rows = [await opened.embedder.embed_image(picture) for picture in pictures]
    classify = opened.active.now.classifier.classify
    found = [(await classify(row[None], list(COLOURS), ["{}"]))[0][0].label for row in rows]
    items = [
        NewImage(picture, f"{n:02}", {"what": {"kind": [label]}})
        for n, (picture, label) in enumerate(zip(pictures, found, strict=True))
    ]
    outcomes = (await opened.collections.add_many(name, items)).outcomes
    assert {one.status for one in outcomes} == {"created"}


async def search(opened: Opened, *texts: str, name: str = "default", weight: float = 1.0) -> None:
    queries = [WeightedQuery(text, "q", weight) for text in texts]
    await search_collection(
        SearchInput(queries, [name], k=3),
        collections=opened.collections,
        image_urls=NoUrls(),  # type: ignore[arg-type]
        reserve=None,  # type: ignore[arg-type]
    )


class NoUrls:
    async def fetched(self, queries: Any, name: str, reserve: Any) -> Any:
        return queries


def test_a_rollout_stores_what_it_changes(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        rollout = await opened.activate(TINY, 2)
        (stored,) = [one for one in await opened.store.rollouts(9) if one.id == rollout.id]
        for comparison in (rollout.comparison, stored.comparison):
            assert comparison is not None
            (found,) = comparison["collections"]
            assert (found["collection"], found["n_images"], found["coverage"]) == ("default", N, 1.0)
            assert (found["old"]["version"], found["new"]["version"]) == (1, 2)
            assert found["new"]["golden_cosine_min"] == 0.99999
            assert (found["queries"], found["n_queries"]) == ("sampled", N)
            assert 0 < found["overlap_at_10"] < 1
            assert 0 < len(found["changed"]) <= 20
            overlaps = [one["overlap"] for one in found["changed"]]
            assert overlaps == sorted(overlaps)
            for one in found["changed"]:
                assert one["id"] not in {*one["old"], *one["new"]}
                assert len(one["old"]) == len(one["new"]) == 10
                shared = len({*one["old"]} & {*one["new"]})
                assert one["overlap"] == pytest.approx(shared / 10)
            assert found["labels"] is None

    run(story)


def test_a_gate_refuses_the_switch_and_the_old_version_serves_on(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        rollout = await opened.activate(TINY, 2, state="failed")
        assert "overlap@10" in rollout.reason
        assert "min_overlap is 0.99" in rollout.reason
        assert rollout.comparison is not None
        assert rollout.comparison["unmet"] == [rollout.reason]
        assert opened.active.now.version.ref.version == 1
        with opened.collections.using("default") as vectors:
            assert vectors.version.ref.version == 1
        assert len(await opened.ids((await opened.embedder.embed_text("red")).embedding)) == 10

    run(story, gates=Gates(min_overlap=0.99))


def test_the_way_back_is_neither_compared_nor_refused(run: Run) -> None:
    async def go(opened: Opened) -> None:
        await add_noise(opened)
        await opened.activate(TINY, 2)

    async def go_back(opened: Opened) -> None:
        rollout = await opened.activate(TINY, 1)
        assert rollout.comparison is None
        assert (await opened.activate(TINY, 2)).comparison is None

    run(go)
    run(go_back, version=2, gates=Gates(min_overlap=1))


def test_accuracy_and_recall_are_judged_where_metadata_have_labels(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        await opened.collections.create("unlabelled")
        await opened.collections.add_many("unlabelled", [NewImage(noise(n)) for n in range(3)])
        rollout = await opened.activate(TINY, 2, state="failed")
        assert rollout.comparison is not None
        labelled, unlabelled = rollout.comparison["collections"]
        assert unlabelled["labels"] is None
        labels = labelled["labels"]
        assert (labels["label_field"], labels["n_images"]) == ("what.kind", N)
        assert labels["n_labels"] == labels["n_label_queries"] > 1
        assert labels["old_accuracy"] == 1.0  # the labels are what the old version finds
        assert labels["new_accuracy"] < 1.0
        assert labels["old_recall_at_10"] == 1.0
        assert 0 < labels["new_recall_at_10"] <= 1.0
        assert "max_accuracy_loss is 0" in rollout.reason

    run(story, gates=Gates(max_accuracy_loss=0), label_field="what.kind")


def test_versions_are_compared_while_both_have_vectors(run: Run) -> None:
    async def story(opened: Opened) -> None:
        old, new = (TINY, 1), (TINY, 2)
        await add_noise(opened)
        with pytest.raises(Conflict, match="no collection has vectors of tiny/1 and of tiny/2"):
            await opened.comparer.versions(old, new)
        await opened.activate(TINY, 2)
        there, back = [await opened.comparer.versions(*both) for both in ((old, new), (new, old))]
        (one,), (other,) = there.collections, back.collections
        assert one.overlap_at_10 == pytest.approx(other.overlap_at_10)
        assert [change.old for change in one.changed] == [change.new for change in other.changed]
        assert (await opened.comparer.versions(old, new, "default")) == there
        with pytest.raises(NotFound):
            await opened.comparer.versions(old, new, "nowhere")
        await opened.collections.create("later")
        with pytest.raises(Conflict, match="collection 'later' does not have"):
            await opened.comparer.versions(old, new, "later")
        with pytest.raises(InvalidValue):
            await opened.comparer.versions(old, old)

    run(story)


def test_searches_of_large_collections_end_after_a_while(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        await opened.activate(TINY, 2)
        comparer = Comparer(
            collections=opened.collections,
            images=opened.records,
            versions=opened.versions,
            recorder=opened.recorder,
            max_search_s=0,
        )
        (found,) = (await comparer.versions((TINY, 1), (TINY, 2))).collections
        assert found.n_queries == 10
        assert found.overlap_at_10 is not None

    run(story)


def test_images_that_a_rollout_has_not_embedded_yet_do_not_count_as_changes(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        gate = EncoderGate(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(gate.entered.is_set)
        (found,) = (await opened.comparer.versions((TINY, 1), (TINY, 2))).collections
        assert (found.coverage, found.n_queries, found.overlap_at_10) == (0, 0, None)
        gate.open()
        await opened.end_of(rollout)

    run(story)


def test_recorded_texts_are_the_queries(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        await search(opened, "red")
        await search(opened, "blue", "green")
        await search(opened, "yellow", "red", weight=-1)
        with pytest.raises(NotFound):
            await search(opened, "lost", name="nowhere")
        assert await opened.recorder.texts(opened.collections["default"]) == ["green", "blue", "red"]
        rollout = await opened.activate(TINY, 2)
        assert rollout.comparison is not None
        (found,) = rollout.comparison["collections"]
        assert (found["queries"], found["n_queries"]) == ("recorded", 3)
        assert {one["text"] for one in found["changed"]} <= {"red", "blue", "green"}
        assert {one["id"] for one in found["changed"]} <= {None}

    run(story, records_queries=True)


def test_recorded_texts_follow_their_collection_and_go_with_it(run: Run) -> None:
    async def record(opened: Opened) -> None:
        await opened.collections.create("photos")
        await add_noise(opened, "photos", 2)
        await search(opened, "red", name="photos")
        photos = opened.collections["photos"]
        assert await opened.recorder.texts(photos) == ["red"]
        await search(opened, "blue", name="photos")
        await opened.collections.change("photos", CollectionChange("pictures"))
        assert await opened.recorder.texts(photos) == ["blue", "red"]

    async def drop(opened: Opened) -> None:
        pictures = opened.collections["pictures"]
        assert await opened.recorder.texts(pictures) == ["blue", "red"]
        await search(opened, "green", name="pictures")
        await opened.collections.drop("pictures")
        await opened.collections.create("pictures")
        assert await opened.recorder.texts(opened.collections["pictures"]) == []

    run(record, records_queries=True)
    run(drop, records_queries=True)


def test_turning_recording_off_deletes_the_texts(run: Run) -> None:
    async def record(opened: Opened) -> None:
        await add_noise(opened, n=2)
        await search(opened, "red")

    async def see(opened: Opened) -> None:
        queries = SqliteQueries(opened.records.threads)
        assert await queries.queries("default") == []

    run(record, records_queries=True)
    run(see)


def test_the_newest_texts_are_kept(model_repo: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with Opened(model_repo, tmp_path / "data", 1) as opened:
            queries = SqliteQueries(opened.records.threads)
            await queries.add_queries("default", ["a", "b", "c"], 3)
            await queries.add_queries("default", ["a", "d"], 3)
            assert await queries.queries("default") == ["d", "a", "c"]
            with pytest.raises(NotFound):
                await queries.add_queries("nowhere", ["a"], 3)
            assert await queries.forget_queries() == 3

    asyncio.run(story())
