"""Collections move to another version while their old vectors answer every search."""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.search import (
    FetchedQuery,
    SearchInput,
    StoredImage,
    WeightedQuery,
    search_collection,
)
from diptych.core.concurrency.admission import Admission
from diptych.core.fetching.image_urls import ImageUrls
from diptych.core.rollout import known, previous, watcher
from diptych.core.rollout.comparison import Gates
from diptych.core.rollout.types import Rollout
from diptych.core.types import CollectionChange, NewImage
from diptych.errors import Conflict, NotFound, NotReady, StoreFull
from integration.store_parts import COLOURS, Opened, Run, add_colours, look
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.tiny_bundle import TINY, write_tiny_bundle
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


async def version_of(opened: Opened, name: str = "default") -> tuple[str, int]:
    """The model and version that make its vectors."""
    vectors = (await opened.collections.stats(name)).vectors
    assert vectors is not None
    return vectors.name, vectors.version


async def require_found(opened: Opened, *colours: str) -> None:
    """Each colour is the best hit of its own picture, in the collection's own version."""
    for colour in colours:
        with opened.collections.using("default") as vectors:
            query = await vectors.pipeline.embedder.embed_image(picture(colour))
            hits = await opened.collections.search("default", query, k=9, vectors=vectors)
        assert hits[0].id == colour
        assert sorted(hit.id for hit in hits) == sorted(colours)
        stored = await opened.collections.embedding_of("default", colour)
        assert stored == pytest.approx(query, abs=1e-6)


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """Take a folder of the model repository away for the duration of the block."""
    elsewhere = folder.rename(folder.parent.parent / f"{folder.name}-elsewhere")
    try:
        yield
    finally:
        elsewhere.rename(folder)


class Held:
    """Holds back the encoder of images, of all versions, until `go_on`."""

    def __init__(self, opened: Opened) -> None:
        self._go_on, self.entered = threading.Event(), threading.Event()
        opened.before_encode = self._hold

    def go_on(self) -> None:
        self._go_on.set()

    def _hold(self) -> None:
        self.entered.set()
        assert self._go_on.wait(10)


def test_old_vectors_answer_until_the_new_index_is_complete(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        assert await version_of(opened) == (TINY, 1)
        info = await opened.collections.get("default")
        assert (info.state, info.n_embedded) == ("ready", 4)
        assert len(await opened.ids(np.eye(16, dtype=np.float32)[0])) == 4
        progress = opened.rollouts.progress(rollout.id)
        assert progress is not None
        assert (progress.n_embedded, progress.n_images) == (0, 4)
        held.go_on()
        await opened.end_of(rollout)
        assert await version_of(opened) == (TINY, 2)
        assert opened.active.now.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_progress_never_goes_back(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        rollout, shown = await opened.rollouts.activate(TINY, 2), []
        while not (await opened.rollouts.get(rollout.id)).has_ended:
            if (progress := opened.rollouts.progress(rollout.id)) is not None:
                shown.append(progress.n_embedded)
            await asyncio.sleep(0)
        assert shown == sorted(shown)
        assert shown[0] == 0

    run(story)


def test_changes_during_a_rollout_end_up_in_both_versions(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        await opened.collections.delete("default", "yellow")
        await opened.collections.patch("default", "red", {"new": True})
        adding = [
            asyncio.create_task(opened.add("default", picture("white"), "white")),
            asyncio.create_task(opened.add("default", picture("black"), "green", replace=True)),
        ]
        held.go_on()
        assert [(await one).status for one in adding] == ["created", "replaced"]
        await opened.end_of(rollout)
        for _ in range(2):
            ids = await opened.ids(await look(opened, "black"), k=9)
            assert ids[0] == "green"
            assert sorted(ids) == ["blue", "green", "red", "white"]
            assert (await opened.collections.get_image("default", "red")).metadata["new"] is True
            await opened.activate(TINY, 3 - opened.active.now.model.version)  # back to version 1

    run(story)


def test_rollback_is_immediate_once_the_former_version_has_caught_up(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        status = await opened.rollouts.status()
        assert status.previous is not None
        assert (status.previous.ref.version, status.previous.n_lagging) == (1, 1)
        n_loaded = len(opened.versions.loaded())
        await opened.activate(TINY, 1)
        assert len(opened.versions.loaded()) == n_loaded == 2
        assert await version_of(opened) == (TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)


async def caught_up(opened: Opened) -> None:
    """Wait until a rollback would be immediate."""
    while (previous := (await opened.rollouts.status()).previous) is None or previous.n_lagging:  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


async def require_immediate_rollback(opened: Opened) -> None:
    """Go back to version 1 without encoding anything."""
    encoded = Held(opened)
    await opened.activate(TINY, 1)
    assert not encoded.entered.is_set()
    encoded.go_on()


def test_collection_that_is_created_after_a_switch_can_go_back_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        held, batches = Held(opened), count()
        hold = opened.before_encode
        opened.before_encode = lambda: hold() if next(batches) else None
        await opened.collections.create("late")
        await opened.add("late", picture("red"), "red")
        status = await opened.rollouts.status()
        assert status.previous is not None
        assert status.previous.n_lagging == 1
        held.go_on()
        await caught_up(opened)
        await require_immediate_rollback(opened)
        assert await version_of(opened, "late") == (TINY, 1)
        assert (await opened.collections.get("late")).n_embedded == 1

    run(story)


def test_collection_that_is_moved_after_a_switch_can_go_back_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.take("default", "int8")
        await caught_up(opened)
        await require_immediate_rollback(opened)
        assert opened.collections["default"].current.identity == f"{TINY}/1/int8"
        await require_found(opened, *COLOURS)

    run(story)


def test_collection_that_cannot_go_back_does_not_lag_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        opened.refused.append(f"{TINY}/1/int8")
        await opened.collections.create("refused", precision="int8")
        await opened.add("refused", picture("red"), "red")
        await caught_up(opened)
        rollout = await opened.activate(TINY, 1)
        assert sorted(rollout.stays) == ["bare", "refused"]

    run(story)


def test_vectors_of_a_version_that_is_not_kept_are_deleted(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        (before,) = await opened.records.collections()
        assert before.identity is not None
        await opened.activate(TINY, 2)
        async with asyncio.timeout(20):
            while len(await opened.records.missing("default", before.identity)) < len(COLOURS):  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.01)
        (after,) = await opened.records.collections()
        assert after.previous_identity is None
        assert await opened.records.missing("default", after.identity or "") == {}

    run(story, keeps_previous=False)


def test_vectors_for_a_rollback_are_kept_whatever_precision_the_collection_had_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moved(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.take("default", "int8")

    async def after(opened: Opened) -> None:
        collection = opened.collections["default"]
        await until(lambda: collection.previous is not None and not collection.previous.pending)
        held = Held(opened)
        rollout = await opened.rollouts.activate("other")
        await until(held.entered.is_set)
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        await cancelling
        await opened.activate(TINY, 1)
        assert await version_of(opened) == (TINY, 1)
        assert await opened.records.missing("default", collection.all_vectors[0].identity) == {}

    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)
    run(moved)
    run(after, version=2)


def test_rollback_now_does_not_wait_for_what_the_former_version_lacks(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 1, now=True)
        await opened.end_of(rollout)
        assert len(await opened.ids(np.eye(16, dtype=np.float32)[0])) == 4
        assert (await opened.collections.get("default")).n_embedded == 4
        with pytest.raises(NotReady, match="which images cannot be found is not known yet"):
            await opened.collections.delete_matching("default", None, lacking=True, preview=False)
        held.go_on()
        await until(lambda: not opened.collections["default"].all_vectors[0].pending)
        await require_found(opened, "red", "green", "blue", "yellow", "white")
        with pytest.raises(Conflict, match="other/1 was not active before"):
            await opened.rollouts.activate("other", 1, now=True)

    run(story)


def test_restart_after_a_rollback_now_answers_with_what_has_vectors(run: Run) -> None:
    def fail(items: Any, on_start: Any) -> Any:
        raise RuntimeError("cannot be encoded")

    async def lags(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        opened.encode_image = fail
        await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        await opened.collections.change("default", CollectionChange(name="renamed"))
        await opened.collections.change("renamed", CollectionChange(name="default"))

    held: list[Held] = []

    async def again(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "ready"
        assert sorted(await opened.ids(np.eye(16, dtype=np.float32)[0])) == sorted(COLOURS)
        held[0].go_on()
        await until(lambda: not opened.collections["default"].all_vectors[0].pending)
        await require_found(opened, *COLOURS, "white")

    run(lags)
    run(again, before=lambda opened: held.append(Held(opened)))


def test_images_that_a_rollback_now_left_out_give_way_to_requests(run: Run) -> None:
    class Paced:
        n_pauses = 0

        async def pause(self, worked_s: float, encoded_s: float) -> None:
            self.n_pauses += 1

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        opened.pace = paced = Paced()
        await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        await until(lambda: paced.n_pauses)
        await require_found(opened, *COLOURS, "white")

    run(story)


def test_rollback_now_leaves_a_collection_that_would_lose_images(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.collections.change("default", CollectionChange(keep="none"))
        await opened.add("default", picture("white"), "white")
        rollout = await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        assert dict(rollout.stays) == {"default": "images were added that it does not keep"}
        assert opened.active.now.model.version == 1
        assert await version_of(opened) == (TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)


def test_next_start_serves_what_it_served_and_goes_on(run: Run) -> None:
    async def stopped(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        held.go_on()

    async def goes_on(opened: Opened) -> None:
        rollout = (await opened.rollouts.list())[0]
        await opened.end_of(rollout)
        assert await version_of(opened) == (TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    async def again(opened: Opened) -> None:
        assert await version_of(opened) == (TINY, 2)
        status = await opened.rollouts.status()
        assert status.previous is not None
        await until(lambda: len(opened.versions.loaded()) == 2)
        await opened.activate(TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(stopped)
    run(goes_on)
    run(again, version=2)


def test_start_with_another_version_moves_collections_that_can_be_searched_meanwhile(run: Run) -> None:
    async def after(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "ready"
        rollout = (await opened.rollouts.list())[0]
        await opened.end_of(rollout)
        assert await version_of(opened) == (TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(add_colours)
    run(after, version=2)


def test_copies_of_what_a_rollout_goes_to_are_kept_at_its_resumption(run: Run) -> None:
    async def begun(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        held.go_on()

    async def resumed(opened: Opened) -> None:
        (rollout,) = [one for one in await opened.rollouts.list() if one.target.version == 2]
        assert not rollout.has_ended
        await opened.end_of(rollout)
        assert all(rollout.target in refs for refs in opened.bundles.kept)
        assert await version_of(opened) == (TINY, 2)

    run(begun)
    run(resumed)


def test_collection_of_a_model_that_does_not_serve_moves_to_its_next_version(
    run: Run, model_repo: Path
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        for version in (1, 2):
            moved = await opened.rollouts.move_collection("default", model="grown")
            assert moved is not None
            await opened.end_of(moved)
            assert await version_of(opened) == ("grown", version)
            if version == 1:
                write_tiny_bundle(model_repo, name="grown", seed=4)
        assert await opened.rollouts.move_collection("default", model="grown") is None

    write_tiny_bundle(model_repo, name="grown", seed=3)
    run(story)


def test_another_name_takes_its_collections_along_and_one_alone_may_go_elsewhere(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("apart")
        await opened.add("apart", picture("red"), "red")
        moved = await opened.rollouts.move_collection("apart", model="other")
        assert moved is not None
        await opened.end_of(moved)
        assert await version_of(opened, "apart") == ("other", 1)
        assert await version_of(opened) == (TINY, 1)
        await opened.activate("other")
        assert await version_of(opened) == ("other", 1)
        assert (await opened.collections.get("default")).model == "other"
        await opened.activate(TINY, 2)
        assert await version_of(opened, "apart") == (TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    async def after(opened: Opened) -> None:
        assert await version_of(opened, "apart") == (TINY, 2)

    run(story)
    run(after, version=2)


def test_latest_policy_follows_new_versions_and_a_rollback_stays(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await until(lambda: opened.active.now.model.version == 2)
        await opened.activate(TINY, 1)
        await asyncio.sleep(0.1)  # several looks at the repository
        assert opened.active.now.model.version == 1

    run(story, policy="latest")


def test_version_that_fails_does_not_hide_an_older_new_one(run: Run, model_repo: Path) -> None:
    shutil.copytree(model_repo / TINY / "2", model_repo / TINY / "3")  # its manifest says that it is 2

    async def story(opened: Opened) -> None:
        await until(lambda: opened.active.now.model.version == 2)
        assert list(opened.rollouts.failures(TINY)) == [3]
        assert opened.metrics.rollouts["failed"] == 1

    run(story, policy="latest")


def test_collection_without_originals_stays_searchable_and_says_why(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        rollout = await opened.activate(TINY, 2)
        assert dict(rollout.stays) == {"bare": "1 of 1 rows keep no image that could be embedded"}
        assert await version_of(opened) == (TINY, 2)
        assert await version_of(opened, "bare") == (TINY, 1)
        info = await opened.collections.get("bare")
        assert (info.state, info.stays) == ("ready", rollout.stays["bare"])
        with opened.collections.using("bare") as vectors:
            query = (await vectors.pipeline.embedder.embed_text("red")).embedding
            assert [hit.id for hit in await opened.collections.search("bare", query, k=3)] == ["red"]
        with pytest.raises(Conflict, match="cannot move: 1 of 1 rows keep no image"):
            await opened.rollouts.move_collection("bare", model="other")

    async def after(opened: Opened) -> None:
        assert await version_of(opened, "bare") == (TINY, 1)
        assert (await opened.collections.get("bare")).stays
        await until(lambda: (TINY, 1) in {(one.name, one.version) for one in opened.bundles.kept[-1]})

    run(story)
    run(after, version=2)


def test_collection_that_comes_to_keep_nothing_during_a_rollout_stays(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        await opened.collections.change("default", CollectionChange(keep="none"))
        adding = asyncio.create_task(opened.add("default", picture("white"), "white"))
        held.go_on()
        assert (await adding).status == "created"
        ended = await opened.end_of(rollout)
        assert "default" in ended.stays
        assert await version_of(opened) == (TINY, 1)
        assert opened.active.now.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)


def test_cancelled_rollout_leaves_everything_as_it_was(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        assert (await cancelling).state == "cancelled"
        assert await version_of(opened) == (TINY, 1)
        await until(lambda: len(opened.versions.loaded()) == 1)
        await require_found(opened, "red", "green", "blue", "yellow")
        with pytest.raises(Conflict, match="has ended: it is cancelled"):
            await opened.rollouts.cancel(rollout.id)
        with pytest.raises(NotFound):
            await opened.rollouts.cancel("absent")

    run(story)


def test_vectors_of_a_cancelled_rollout_are_deleted(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("more")
        await opened.add("more", picture("white"), "white")
        held, began = Held(opened), threading.Event()
        hold = opened.before_encode

        def hold_the_second() -> None:
            if began.is_set():
                hold()
            began.set()

        opened.before_encode = hold_the_second
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        assert await opened.records.missing("default", f"{TINY}/2") == {}
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        await cancelling
        async with asyncio.timeout(20):
            while len(await opened.records.missing("default", f"{TINY}/2")) < len(COLOURS):  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.01)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_failed_rollout_that_is_tried_again_embeds_nothing_twice(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2, state="failed")
        assert await opened.records.missing("default", f"{TINY}/2") == {}
        encoded = Held(opened)
        await opened.activate(TINY, 2, state="failed")
        assert not encoded.entered.is_set()

    run(story, gates=Gates(min_overlap=1.01))


def test_activating_another_version_ends_the_rollout_under_way(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        first = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        activating = asyncio.create_task(opened.rollouts.activate("other"))
        await asyncio.sleep(0.01)
        held.go_on()
        await opened.end_of(await activating)
        assert (await opened.rollouts.get(first.id)).state == "cancelled"
        assert await version_of(opened) == ("other", 1)

    run(story)


def test_image_that_cannot_be_embedded_any_more_keeps_the_old_version(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        lost = (await opened.collections.get_image("default", "red")).sha256
        file = next((opened.data_dir / "images").glob(f"*/{lost}"))
        payload = file.read_bytes()
        file.unlink()
        ended = await opened.activate(TINY, 2, state="failed")
        assert ended.reason.startswith("1 of 4 images of collection 'default' cannot be embedded")
        assert await version_of(opened) == (TINY, 1)
        assert await opened.ids(await look(opened, "red"), k=1) == ["red"]
        file.write_bytes(payload)
        await opened.activate(TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize("where", ["room", "put_embeddings", "switch"])
def test_disk_that_is_full_keeps_the_old_version(run: Run, where: str) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)

        async def refuse(*values: Any, **named: Any) -> Any:
            raise StoreFull("no space is left")

        with pytest.MonkeyPatch.context() as patch:
            if where == "room":
                opened.room.error = StoreFull("no space is left")
            elif where == "put_embeddings":
                patch.setattr(opened.records, "put_embeddings", refuse)
            else:
                patch.setattr(opened.store, "switch", refuse)
            ended = await opened.activate(TINY, 2, state="failed")
            assert ended.reason == "no space is left"
        opened.room.error = None
        assert await version_of(opened) == (TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")
        await opened.activate(TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize(("max_items", "max_bytes"), [(3, 10**9), (256, 2_000)])
def test_rollout_fits_into_a_small_queue(run: Run, max_items: int, max_bytes: int) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.add_many("default", [NewImage(noise(n, (16, 16))) for n in range(10)])

    async def after(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        assert (await opened.collections.get("default")).n_embedded == 10

    run(before)
    run(after, admission=Admission(max_items=max_items, max_bytes=max_bytes))


def test_collection_whose_version_is_gone_is_embedded_for_the_active_one(run: Run, model_repo: Path) -> None:
    async def without_version_1(opened: Opened) -> None:
        info = await opened.collections.get("default")
        assert info.n_images == 4
        rollout = (await opened.rollouts.list())[0]
        await opened.end_of(rollout)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(add_colours)
    with gone(model_repo / TINY / "1"):
        run(without_version_1, version=2)


def test_collection_of_another_model_stays_with_it(run: Run) -> None:
    async def other(opened: Opened) -> None:
        assert opened.active.now.model.name == "other"
        assert await version_of(opened) == (TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")
        assert (await opened.add("default", picture("black"))).status == "created"
        assert all(one.has_ended for one in await opened.rollouts.list())

    run(add_colours)
    run(other, model="other")


def test_collection_of_a_model_that_is_gone_can_be_read_but_not_searched(run: Run, model_repo: Path) -> None:
    async def other(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "other_model"
        with pytest.raises(Conflict, match="belongs to model 'tiny'"):
            await opened.ids(np.ones(16, np.float32))
        with pytest.raises(Conflict):
            await opened.add("default", picture("black"))
        assert (await opened.collections.original("default", "red"))[0] == picture("red")
        await opened.collections.delete("default", "red")
        assert (await opened.collections.get("default")).n_images == 3

    run(add_colours)
    with gone(model_repo / TINY):
        run(other, model="other")


def test_model_that_the_settings_name_is_activated_once_and_what_serves_wins_after_that(run: Run) -> None:
    async def started_with_another_name(opened: Opened) -> None:
        assert await version_of(opened) == (TINY, 1)
        await until(lambda: opened.active.now.model.name == "other")
        await until(lambda: not any(one.next for one in opened.collections.loaded()))
        assert await version_of(opened) == ("other", 1)
        await opened.activate(TINY, 2)

    async def started_again(opened: Opened) -> None:
        assert await opened.rollouts.status() is not None
        for rollout in await opened.rollouts.list():
            assert rollout.has_ended
        assert opened.active.now.model.name == TINY

    run(add_colours, asked_model=TINY)
    run(started_with_another_name, asked_model="other")
    run(started_again, version=2, asked_model="other")


def test_rollout_that_is_cancelled_during_its_switch_is_done_and_all_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, entered, go_on = opened.store.switch, asyncio.Event(), asyncio.Event()

        async def held(*values: Any, **named: Any) -> None:
            entered.set()
            await go_on.wait()
            await switch(*values, **named)

        with monkeypatch.context() as patch:
            patch.setattr(opened.store, "switch", held)
            rollout = await opened.rollouts.activate(TINY, 2)
            await entered.wait()
            cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
            await asyncio.sleep(0.01)
            go_on.set()
            assert (await cancelling).state == "active"
        assert await version_of(opened) == (TINY, 2)
        assert opened.active.now.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")
        assert (await opened.active.now.embedder.embed_text("red")).embedding.shape == (16,)
        await opened.activate(TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize("query", ["red", StoredImage("red")])
def test_search_sees_an_image_that_is_replaced_after_a_switch_beside_it(
    run: Run, query: FetchedQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        embedding, nearest = opened.records.embedding, opened.indexes[0].search
        has_happened = False

        async def happens_before(read: Any, *args: Any, **options: Any) -> Any:
            nonlocal has_happened
            if not has_happened:
                has_happened = True
                await opened.activate(TINY, 2)
                await opened.add("default", picture("white"), "red", replace=True)
            return await read(*args, **options)

        monkeypatch.setattr(opened.records, "embedding", partial(happens_before, embedding))
        monkeypatch.setattr(opened.indexes[0], "search", partial(happens_before, nearest))
        asked = SearchInput([WeightedQuery(query, "query")], "default", k=9)
        found = await search_collection(
            asked, collections=opened.collections, image_urls=without_urls(opened), reserve=lambda n: None
        )
        assert found.model.version == 2
        assert sorted(hit.id for hit in found.hits) == ["blue", "green", "red", "yellow"]

    run(story)


def test_collection_that_is_created_during_the_switch_follows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, creating = opened.store.switch, []

        async def create_meanwhile(*values: Any, **named: Any) -> None:
            creating.append(asyncio.create_task(opened.collections.create("late")))
            await asyncio.sleep(0.01)
            await switch(*values, **named)

        with monkeypatch.context() as patch:
            patch.setattr(opened.store, "switch", create_meanwhile)
            await opened.activate("other")
        await creating[0]
        await until(lambda: opened.collections["late"].model == "other")
        assert await version_of(opened, "late") == ("other", 1)

    run(story)


def test_collection_whose_creation_began_before_the_switch_follows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        record_identity, began, go_on = opened.records.record_identity, asyncio.Event(), asyncio.Event()

        async def held_up(*values: Any) -> None:
            await record_identity(*values)
            if not began.is_set():
                began.set()
                await go_on.wait()

        monkeypatch.setattr(opened.records, "record_identity", held_up)
        creating = asyncio.create_task(opened.collections.create("late"))
        await began.wait()
        await opened.activate(TINY, 2)
        while (await opened.rollouts.status()).running is not None:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        go_on.set()
        await creating
        assert await version_of(opened, "late") == (TINY, 2)

    run(story)


async def activate_beside_a_newcomer(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, before_storing: Callable[[Rollout], Awaitable[None]]
) -> None:
    """Activate version 2; the collection "late" is created after the last look of the rollout."""
    put = opened.store.put_rollout

    async def put_rollout(rollout: Rollout) -> None:
        if rollout.state == "compared" and rollout.collection is None:
            await opened.collections.create("late")
        await before_storing(rollout)
        await put(rollout)

    monkeypatch.setattr(opened.store, "put_rollout", put_rollout)
    await opened.activate(TINY, 2)
    while await is_moving(opened):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


async def is_moving(opened: Opened) -> bool:
    running = (await opened.rollouts.status()).running
    return running is not None or any(not one.has_ended for one in await opened.rollouts.list())


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_newcomer_that_changes_its_precision_before_it_follows_does_both(
    run: Run, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    async def story(opened: Opened) -> None:
        missing = opened.records.missing

        async def change_first(name: str, identity: str) -> Any:
            monkeypatch.setattr(opened.records, "missing", missing)
            await opened.rollouts.move_collection("late", precision=precision)
            return await missing(name, identity)

        async def before_storing(rollout: Rollout) -> None:
            if rollout.state == "active" and rollout.collection is None:
                monkeypatch.setattr(opened.records, "missing", change_first)

        await activate_beside_a_newcomer(opened, monkeypatch, before_storing)
        assert await version_of(opened, "late") == (TINY, 2)
        assert (await opened.collections.get("late")).precision == precision

    run(story)


def test_newcomer_that_changes_its_precision_while_it_follows_does_both(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        changing = list[asyncio.Task[Any]]()

        async def before_storing(rollout: Rollout) -> None:
            if rollout.state == "discovered" and rollout.collection == "late" and not changing:
                move = opened.rollouts.move_collection("late", precision="fp32")
                changing.append(asyncio.create_task(move))
                await asyncio.sleep(1)  # until that cancels this rollout

        await activate_beside_a_newcomer(opened, monkeypatch, before_storing)
        await changing[0]
        while await is_moving(opened):  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        assert await version_of(opened, "late") == (TINY, 2)
        assert (await opened.collections.get("late")).precision == "fp32"

    run(story)


def without_urls(opened: Opened) -> ImageUrls:
    """What fetches no image."""
    fetcher: Any = None
    return ImageUrls(fetcher, max_at_once=1, turn_s=1, total_s=1, metrics=opened.metrics)


@pytest.mark.parametrize(
    ("version", "precision"), [((TINY, 2), "int8"), ((TINY, 2), "fp32"), (("other", 1), "int8")]
)
def test_collection_whose_precision_changes_during_a_rollout_follows_the_server(
    run: Run, version: tuple[str, int], precision: str
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(*version)
        await until(held.entered.is_set)
        moving = asyncio.create_task(opened.take("default", precision))
        await asyncio.sleep(0.01)
        held.go_on()
        await opened.end_of(rollout)
        await moving
        info = await opened.collections.get("default")
        assert (info.precision, info.stays) == (precision, "")
        assert await version_of(opened) == version
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_rollout_that_is_cancelled_as_it_begins_has_ended(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        for n_steps in range(8):
            rollout = await opened.rollouts.activate(TINY, 2)
            for _ in range(n_steps):
                await asyncio.sleep(0)
            assert (await opened.rollouts.cancel(rollout.id)).state == "cancelled"
        await asyncio.sleep(0.05)
        ended = await opened.rollouts.list()
        assert [one.state for one in ended[:-1]] == 8 * ["cancelled"]
        assert opened.active.now.model.version == 1
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_collection_that_is_renamed_while_its_rollout_waits_is_moved(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        first = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        moving = await opened.rollouts.move_collection("default", model="other")
        assert moving is not None
        await opened.collections.change("default", CollectionChange(name="renamed"))
        held.go_on()
        await opened.end_of(first)
        await opened.end_of(moving)
        assert await version_of(opened, "renamed") == ("other", 1)

    run(story)


def test_rollout_of_a_dropped_collection_does_not_move_its_namesake(run: Run) -> None:
    async def dropped(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        assert await opened.rollouts.move_collection("default", precision="int8") is not None
        await opened.collections.drop("default")
        await opened.collections.create("default")
        held.go_on()

    async def after(opened: Opened) -> None:
        for rollout in await opened.rollouts.list():
            await opened.end_of(rollout, "cancelled" if rollout.collection else "active")
        assert (await opened.collections.get("default")).precision == "server"

    run(dropped)
    run(after)


def test_image_that_is_deleted_while_it_is_embedded_does_not_end_the_rollout(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        get, deleted = opened.images.get, list[str]()

        async def late(sha256: str) -> bytes:
            if not deleted:
                deleted.append("red")
                await opened.collections.delete("default", "red")
            return await get(sha256)

        monkeypatch.setattr(opened.images, "get", late)
        await opened.activate(TINY, 2)
        assert deleted
        await require_found(opened, "green", "blue", "yellow")

    run(story)


def test_rollout_ends_although_images_are_added_all_the_time(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        added: list[str] = []

        async def keep_adding(marker: int) -> None:
            for n in count():
                outcome = await opened.add("default", noise(1000 * marker + n, (16, 16)))
                assert outcome.id is not None
                added.append(outcome.id)

        adding = [asyncio.create_task(keep_adding(marker)) for marker in range(8)]
        await until(lambda: len(added) > 20)
        await opened.activate(TINY, 2)
        n_added = len(added)
        await until(lambda: len(added) > n_added + 20)
        for task in adding:
            task.cancel()
        await asyncio.gather(*adding, return_exceptions=True)
        hits = await opened.ids(await look(opened, "red"), k=10_000)
        assert set(added) <= set(hits)
        assert await version_of(opened) == (TINY, 2)

    run(story)


def test_rollout_that_is_cancelled_at_once_does_not_begin_again(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        for n_turns in range(12):
            rollout = await opened.rollouts.activate(TINY, 2)
            for _ in range(n_turns):
                await asyncio.sleep(0)
            assert (await opened.rollouts.cancel(rollout.id)).state == "cancelled"
            await asyncio.sleep(0.02)
            assert (await opened.rollouts.get(rollout.id)).state == "cancelled"
            assert opened.active.now.model.version == 1

    run(story)


def test_version_that_the_settings_name_is_served_though_it_served_before(run: Run) -> None:
    async def rolled_over(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)

    async def pinned(opened: Opened) -> None:
        assert (await opened.rollouts.status()).policy == "pinned"
        await until(lambda: opened.active.now.model.version == 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    async def absent(opened: Opened) -> None:
        await asyncio.sleep(0.1)
        assert opened.active.now.model.version == 2

    run(rolled_over)
    run(pinned, version=2, pinned=1)
    run(absent, version=2, pinned=7)


def test_model_that_the_settings_name_is_waited_for(run: Run, model_repo: Path) -> None:
    async def started(opened: Opened) -> None:
        assert opened.active.now.model.name == TINY

    async def comes(opened: Opened) -> None:
        assert opened.active.now.model.name == TINY
        elsewhere.rename(model_repo / "other")
        await until(lambda: opened.active.now.model.name == "other")

    run(add_colours)
    elsewhere = (model_repo / "other").rename(model_repo.parent / "other-elsewhere")
    run(started, asked_model="other")
    run(comes, asked_model="other")


def test_rollback_stays_however_many_collections_move_afterwards(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_SHOWN", 2)

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await until(lambda: opened.active.now.model.version == 2)
        await opened.activate(TINY, 1)
        for _ in range(3):
            await opened.take("default", "int8")
            await opened.take("default", "server")
        await asyncio.sleep(0.1)  # several looks at the repository
        assert opened.active.now.model.version == 1

    run(story, policy="latest")


def test_collection_follows_again_soon_after_what_held_it_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LOOK_AT_STAYS_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        await opened.activate(TINY, 2)
        assert (await opened.collections.get("bare")).stays
        await opened.collections.delete("bare", "red")
        await until(lambda: opened.collections["bare"].current.version is opened.active.now.version)
        assert (await opened.collections.get("bare")).stays == ""

    run(story)


def test_collection_whose_precision_is_refused_stays_without_further_rollouts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LOOK_AT_STAYS_S", 0.01)

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.take("default", "int8")
        opened.refused.append("int8")
        rollout = await opened.activate(TINY, 2)
        n_proven = len(opened.proven)
        await asyncio.sleep(0.2)  # several looks
        assert (await opened.rollouts.list())[0].id == rollout.id
        assert len(opened.proven) == n_proven
        assert "precision int8 of tiny/2 cannot be served here" in opened.collections["default"].stays
        opened.refused.remove("int8")
        moving = await opened.rollouts.move_collection("default", model=TINY)
        assert moving is not None
        await opened.end_of(moving)
        assert await version_of(opened) == (TINY, 2)
        assert opened.collections["default"].stays == ""

    run(story)


def test_collection_whose_move_has_failed_is_not_tried_again_by_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LOOK_AT_STAYS_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        await opened.collections.create("stays", "none")
        await opened.add("stays", picture("red"), "red")
        await opened.activate(TINY, 2)
        opened.room.error = StoreFull("no space is left")
        await opened.collections.delete("bare", "red")
        await until(lambda: opened.metrics.rollouts.get("failed", 0) == 1)
        await asyncio.sleep(0.2)  # several looks
        ended = await opened.rollouts.list()
        assert [one.state for one in ended[:2]] == ["failed", "active"]

    run(story)


def test_version_that_was_left_is_not_tried_again_however_often_others_are_activated(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_SHOWN", 2)
    monkeypatch.setattr(known, "MAX_KNOWN", 4)

    async def story(opened: Opened) -> None:
        await until(lambda: opened.active.now.model.version == 2)
        for _ in range(3):
            await opened.activate("other")
            last = await opened.activate(TINY, 1)
        looks, newest = list[str](), opened.bundles.newest
        monkeypatch.setattr(opened.bundles, "newest", lambda *args: [newest(*args), looks.append(args[0])][0])
        await until(lambda: len(looks) > 3)
        assert (await opened.rollouts.list())[0].id == last.id

    run(story, policy="latest")
