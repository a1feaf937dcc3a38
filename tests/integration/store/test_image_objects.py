"""Image files in an object store: what is asked of it, and what happens when it fails."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from diptych.adapters.objects import bucket
from diptych.adapters.objects.bucket import Bucket
from diptych.adapters.objects.image_objects import ImageObjects
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import ConfigError, CorruptStore, StoreFull, StoreUnavailable
from integration.image_stores import ObjectsOfImages
from support.object_store import KEY, SECRET, Fault, Store

ONE = sha256_of(b"one")
LARGE = b"large" * 50_000


@pytest.fixture
def place(object_store: Store, monkeypatch: pytest.MonkeyPatch) -> ObjectsOfImages:
    monkeypatch.setattr(bucket, "RETRY_S", 0.3)
    monkeypatch.setattr(bucket, "N_RETRIES", 1)
    return ObjectsOfImages(object_store, object_store.bucket(), "pictures/of us")


def run(story: Callable[[ImageObjects], Awaitable[None]], place: ObjectsOfImages) -> None:
    async def whole() -> None:
        await story(place.open())

    asyncio.run(whole())


async def swept(images: ImageObjects) -> None:
    """Sweep a store all of whose images are used."""
    async for _ in images.stored():
        pass


def test_adds_write_one_object_each_and_read_nothing(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        place.store.requests.clear()
        await images.put({sha256_of(one): one for one in (b"one", b"two", LARGE)})
        await images.put({ONE: b"one"})
        assert [one.split(" ")[0] for one in place.store.requests] == ["PUT"] * 4
        assert len(place.names(ONE)) == 2
        assert await images.get(sha256_of(LARGE)) == LARGE

    run(story, place)


def test_what_rows_use_is_not_written_again(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        await images.put({ONE: b"one"})
        before = place.names(ONE)
        place.age()
        await images.put({ONE: b"one"}, are_used=True)
        assert place.names(ONE) == before

    run(story, place)


def test_sweep_keeps_the_newest_old_object_of_an_image_and_all_younger_ones(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        now = datetime.now(UTC)
        for hours in (4, 3, 2):
            await images.put({ONE: b"one"})
            newest = place.names(ONE)[-1]
            place.store.age(place.bucket, newest, at=now - timedelta(hours=hours))
        for minutes in (50, 40):
            await images.put({ONE: b"one"})
            place.store.age(place.bucket, place.names(ONE)[-1], at=now - timedelta(minutes=minutes))
        before = place.names(ONE)
        await swept(images)
        assert place.names(ONE) == before[2:]
        place.age()
        await swept(images)
        assert place.names(ONE) == before[-1:]
        assert await images.get(ONE) == b"one"

    run(story, place)


def test_removal_that_comes_late_takes_nothing_that_was_added_since(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        await images.put({ONE: b"one"})
        place.age()
        async for page in images.stored():
            assert page == [ONE]
            await images.remove(page)
            await place.open().put({ONE: b"one"})
            await images.remove(page)  # as a request that was sent again
        assert len(place.names(ONE)) == 1
        assert await images.get(ONE) == b"one"
        place.age()
        await images.remove([ONE])  # as after a deletion: it is left to the next sweep
        assert len(place.names(ONE)) == 1

    run(story, place)


def test_copy_of_a_folder_is_read_and_what_is_not_ours_is_left(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        folder = "pictures/of us/images"
        ours = f"{folder}/{ONE[:2]}/{ONE}"
        others = [f"{folder}/readme.txt", f"{folder}/ab/{'x' * 64}", "images/other.txt"]
        for name, content in {ours: b"one", **dict.fromkeys(others, b"text")}.items():
            place.store.write(place.bucket, name, content)
        assert await images.get(ONE) == b"one"
        assert await images.sizes([ONE]) == {ONE: 3}
        place.age()
        pages = [page async for page in images.stored()]
        assert pages == [[ONE]]
        async for page in images.stored():
            await images.remove(page)
        assert await images.sizes([ONE]) == {}
        assert set(others) <= set(place.store.keys(place.bucket))

    run(story, place)


def test_damaged_object_is_not_answered_with_and_an_earlier_whole_one_is(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        await images.put({ONE: b"one"})
        (first,) = place.names(ONE)
        place.damage(ONE, b"0ne")
        with pytest.raises(CorruptStore, match=f"file of image {ONE} is damaged: add the image again"):
            await images.get(ONE)
        await images.put({ONE: b"one"})
        (second,) = set(place.names(ONE)) - {first}
        place.store.write(place.bucket, first, b"one")
        place.store.write(place.bucket, second, b"0ne")
        assert await images.get(ONE) == b"one"

    run(story, place)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", r"answers with an error \(InternalError\)"),
        ("hang", "cannot be reached"),
        ("truncated", "cannot be reached"),
        ("403", r"refuses access \(AccessDenied\): see the variables AWS_"),
    ],
)
def test_faults_are_errors_within_bounds_that_name_nothing_private_and_pass(
    place: ObjectsOfImages,
    fault: Fault,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(bucket, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(bucket, "PROBE_S", 0.3)
    monkeypatch.setattr(bucket, "PAUSE_S", 0.0)

    async def story(images: ImageObjects) -> None:
        await images.put({sha256_of(LARGE): LARGE})
        place.store.fault = fault
        began = time.monotonic()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: images.get(sha256_of(LARGE)),
            images.require_writable,
        ]
        if fault != "truncated":  # what it is answered is empty, or in a header
            calls += [
                lambda: images.put({ONE: b"one"}),
                lambda: images.sizes([ONE]),
                images.require_available,
            ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match=reason) as found:
                await call()
            assert not any(text in str(found.value) for text in (KEY, SECRET, place.bucket, "127.0.0.1"))
        assert time.monotonic() - began < 20
        place.store.released.set()
        place.store.fault = None
        await images.put({ONE: b"one"})
        assert await images.get(sha256_of(LARGE)) == LARGE
        await images.require_available()
        await images.require_writable()

    run(story, place)
    ours = [one for one in caplog.records if one.name.startswith("diptych")]
    assert not any(text in one.getMessage() for one in ours for text in (KEY, SECRET, place.bucket))
    n_lines = 0 if fault == "403" else 2  # one key may be refused what another one may do
    assert len(ours) == n_lines, [one.getMessage() for one in ours]


def test_during_an_outage_requests_fail_at_once(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        place.store.fault = "500"
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await images.put({ONE: b"one"})
        n_sent = len(place.store.requests)
        assert n_sent < 10, place.store.requests

    place.store.requests.clear()
    run(story, place)


def test_probe_that_failed_once_hinders_no_request(
    place: ObjectsOfImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PAUSE_S", 60.0)

    async def story(images: ImageObjects) -> None:
        await images.put({ONE: b"one"})
        place.store.fault = "500"
        with pytest.raises(StoreUnavailable):
            await images.require_writable()
        place.store.fault = None
        assert await images.get(ONE) == b"one"

    run(story, place)


def test_full_store_is_said(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        place.store.fault, place.store.methods = "507", frozenset({"PUT"})
        with pytest.raises(StoreFull, match=r"no space left \(XMinioStorageFull\)"):
            await images.put({ONE: b"one"})
        assert await images.sizes([ONE]) == {}

    run(story, place)


def test_store_of_another_database_is_not_taken_for_its_own(place: ObjectsOfImages) -> None:
    async def story(images: ImageObjects) -> None:
        await images.require_available()
        for content in (b"another id", None):
            (name,) = place.store.keys(place.bucket, "pictures/of us/database-id")
            if content is None:
                place.store.remove(place.bucket, name)
            else:
                place.store.write(place.bucket, name, content)
            with pytest.raises(StoreUnavailable, match="lacks its database-id, or has that of another"):
                await images.require_writable()

    run(story, place)


def test_first_id_of_a_store_stays(place: ObjectsOfImages) -> None:
    opened = place.opened()
    opened.write_id("a second id")
    assert opened.read_id() == "an id"


def test_missing_bucket_credentials_and_unusable_variables_are_named(
    place: ObjectsOfImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ask in (Bucket("s3://no-such-bucket").read_id, Bucket("s3://no-such-bucket/x").now):
        with pytest.raises(StoreUnavailable, match="has no such bucket: make it"):
            ask()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match="no credentials for the object store"):
        Bucket("s3://bucket").read_id()
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", SECRET)
    with pytest.raises(ConfigError, match=r"variable AWS_\.\.\. has a value") as found:
        Bucket("s3://bucket")
    assert SECRET not in str(found.value)
