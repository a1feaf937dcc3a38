"""`add`: every image has an outcome, whatever happens to the others."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from diptych_client import (
    AddOutcome,
    Client,
    FileTooLarge,
    InvalidCall,
    InvalidValue,
    Unreachable,
    UnreadableFile,
    UnsupportedImage,
)
from diptych_client.images import MAX_BATCH_BYTES, ImageBatches, LoadedImage
from support.fake_api import FakeApi, add_reply, parts, problem
from support.special_files import add_special_files

PATH = "POST /collections/pets/images"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on(PATH, add_reply)


def n_images(request: httpx.Request) -> int:
    return sum(name == "image" for name, _ in parts(request))


def test_failed_item_is_an_outcome_and_the_others_are_added(client: Client, tmp_path: Path) -> None:
    outcomes = client.add([b"a", b"bad", tmp_path / "absent.png", b"c"], collection="pets")
    assert [outcome.status for outcome in outcomes] == ["created", "failed", "failed", "created"]
    assert [outcome.id for outcome in outcomes] == ["a", None, None, "c"]
    assert isinstance(outcomes[1].error, UnsupportedImage)
    assert isinstance(outcomes[2].error, UnreadableFile)


def test_special_files_fail_alone(client: Client, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    names = add_special_files(tmp_path)
    outcomes = client.add(
        [*(tmp_path / name for name in names), tmp_path / "folder.png", b"c"], collection="pets"
    )
    assert [str(outcome.error) for outcome in outcomes] == [
        *(f"{tmp_path / name}: is not a regular file" for name in names),
        f"{tmp_path / 'folder.png'}: is a folder",
        "None",
    ]


@pytest.mark.parametrize("limit", [None, 1_000])
def test_large_file_is_not_read_beyond_the_limit_of_the_server(
    client: Client, api: FakeApi, tmp_path: Path, limit: int | None
) -> None:
    version = {"version": "0.1.0", "default_collection": "pets", "max_image_bytes": limit}
    api.on("GET /version", httpx.Response(200, json=version))
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_BATCH_BYTES + 1)
    [outcome] = client.add([large], collection="pets")
    assert len(api.calls()) == 1
    assert isinstance(outcome.error, FileTooLarge)
    assert f"large.png: has 32000001 bytes, limit is {limit or 32_000_000}" in str(outcome.error)


def test_outcomes_count_over_the_whole_call(client: Client, api: FakeApi) -> None:
    images = [f"image-{i}".encode() for i in range(150)]
    outcomes = client.add(images, collection="pets")
    assert [n_images(request) for request in api.requests] == [64, 64, 22]
    assert [(outcome.index, outcome.id) for outcome in outcomes] == [(i, f"image-{i}") for i in range(150)]


def test_ids_and_metadata_are_sent_with_their_images(client: Client, api: FakeApi, tmp_path: Path) -> None:
    client.add(
        [b"a", tmp_path / "absent.png", b"c"],
        ids=["one", "two", None],
        metadata=[None, None, {"name": "ç"}],
        collection="pets",
        replace=True,
    )
    sent = dict(parts(api.requests[0]))
    assert json.loads(sent["items"]) == [{"id": "one"}, {"metadata": {"name": "ç"}}]
    assert api.requests[0].url.params["replace"] == "true"


def test_lists_of_other_lengths_are_refused_before_anything_is_sent(client: Client, api: FakeApi) -> None:
    with pytest.raises(InvalidCall, match="ids has 1 entries for 2 items"):
        client.add([b"a", b"b"], ids=["one"], collection="pets")
    assert api.requests == []


def test_request_refused_for_one_item_fails_that_item_only(client: Client, api: FakeApi) -> None:
    def refuse_wolf(request: httpx.Request) -> httpx.Response:
        images = [content for name, content in parts(request) if name == "image"]
        if b"wolf" in images:
            return problem(422, "metadata is too large", f"items[{images.index(b'wolf')}]")
        return add_reply(request)

    api.on(PATH, refuse_wolf)
    outcomes = client.add([b"a", b"b", b"wolf", b"d", b"e"], collection="pets")
    assert [outcome.status for outcome in outcomes] == ["created", "created", "failed", "created", "created"]
    assert isinstance(outcomes[2].error, InvalidValue)


@pytest.mark.parametrize(("item", "of_the_image"), [("items[0].metadata.file", "metadata.file")])
def test_error_of_an_image_names_the_faulty_part(
    client: Client, api: FakeApi, item: str, of_the_image: str | None
) -> None:
    api.on(PATH, problem(422, "no good", item))
    (outcome,) = client.add([b"a"], collection="pets")
    assert isinstance(outcome.error, InvalidValue)
    assert outcome.error.item == of_the_image


def test_body_that_is_too_large_is_sent_in_smaller_ones(client: Client, api: FakeApi) -> None:
    def at_most_two(request: httpx.Request) -> httpx.Response:
        return add_reply(request) if n_images(request) <= 2 else problem(413, "body is over the limit")

    api.on(PATH, at_most_two)
    outcomes = client.add([b"a", b"b", b"c", b"d"], collection="pets")
    assert [outcome.status for outcome in outcomes] == ["created"] * 4
    assert [n_images(request) for request in api.requests] == [4, 2, 2]


def test_outcomes_before_a_broken_connection_are_reported(
    client: Client, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diptych_client.client.time.sleep", lambda seconds: None)

    def break_off(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("connection reset", request=request)

    api.on(PATH, add_reply, break_off)
    seen: list[AddOutcome] = []
    with pytest.raises(Unreachable, match="connection reset"):
        client.add([b"x"] * 100, collection="pets", on_outcome=seen.append)
    assert len(seen) == 64


def test_without_a_collection_the_server_names_its_default(client: Client, api: FakeApi) -> None:
    version = {"version": "0.1.0", "model": None, "default_collection": "pets"}
    api.on("GET /version", httpx.Response(200, json=version))
    client.add([b"a"])
    assert api.calls() == ["GET /version", PATH]


def test_batches_are_limited_in_bytes_and_a_large_image_is_sent_alone() -> None:
    images = [b"x" * 4, b"x" * 6, b"x" * 1, b"x" * 30, b"x" * 2]
    assert batch_sizes(ImageBatches(images, max_images=64, max_bytes=10)) == [[4, 6], [1], [30], [2]]


def batch_sizes(batches: ImageBatches) -> list[list[int]]:
    sizes: list[list[int]] = []
    while True:
        with pytest.raises(StopIteration) as finished:
            next(batches.take())
        batch: list[LoadedImage] = finished.value.value
        if not batch:
            return sizes
        sizes.append([len(loaded.bytes_or_raise()) for loaded in batch])


@pytest.mark.parametrize("referenced", [False, True])
def test_known_picture_of_a_library_is_sent_so_that_its_file_is_kept(
    client: Client, api: FakeApi, *, referenced: bool
) -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    record = {"id": "a", "collection": "pets", "sha256": digest, "n_bytes": 1, "media_type": "image/png"}
    record |= {"width": 1, "height": 1, "metadata": {}, "created_at": "", "referenced": referenced}
    api.on("POST /collections/pets/lookups", httpx.Response(200, json={"images": [record]}))
    client.add([b"a"], ids=["a"], collection="pets", skip_known=True)
    assert [n_images(one) for one in api.requests[1:]] == ([1] if referenced else [])
