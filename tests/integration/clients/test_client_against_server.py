"""The Python client against a real server process with the tiny model."""

import asyncio
import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from diptych_client import (
    AsyncClient,
    Client,
    Conflict,
    FacetValue,
    InvalidValue,
    NotFound,
    Query,
    TooLarge,
    Unauthorized,
    UnsupportedImage,
)
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

API_KEY = "sesame-open"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("client")
    write_tiny_bundle(folder / "model_repo")
    with serve(folder / "model_repo", TINY, folder / "data", "--max-k", "50") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def pets(client: Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A collection for one test."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    client.create_collection(name)
    yield name
    client.drop_collection(name)


def test_image_in_memory_has_the_vector_of_its_file(client: Client, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    file = tmp_path / "turned.jpg"
    Image.open(io.BytesIO(noise(1))).convert("RGB").resize((90, 40)).save(file, exif=exif)
    opened = Image.open(file)
    upright = np.asarray(ImageOps.exif_transpose(opened))
    rows = [item.embedding for item in client.embed(images=[file, opened, upright]).images]
    assert rows[0] == rows[1] == rows[2]
    assert client.classify([upright], ["red", "blue"]).data == client.classify([file], ["red", "blue"]).data


def test_server_says_what_it_is(client: Client) -> None:
    assert client.ready().ready
    running = client.version()
    assert str(running.model) == "tiny/1 (fp32)"
    assert running.embed_dim == EMBED_DIM
    assert [(model.name, model.versions, model.active) for model in client.models()] == [(TINY, (1,), 1)]
    manifest = client.model_version(TINY, 1).manifest
    assert manifest is not None
    assert manifest["precisions"]["fp32"]["parity"]["n_images"] == 1000


def test_embeddings_have_unit_norm_and_the_order_of_the_call(client: Client, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    result = client.embed(texts=["red", ""], images=[tmp_path / "red.png", picture("blue")])
    rows = np.stack([item.embedding for item in (*result.texts, *result.images)])
    assert rows.shape == (4, EMBED_DIM)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[2] > rows[0] @ rows[3]  # "red" lies nearer to the red picture


def test_over_long_text_is_reported_as_truncated(client: Client) -> None:
    long, short = client.embed(texts=["red " * 100, "red"]).texts
    assert (long.truncated, short.truncated) == (True, False)


def test_more_images_than_one_request_takes_are_embedded(client: Client) -> None:
    images = [picture("red"), *[picture("blue")] * 69, b"no image"]
    assert len(client.embed(images=images[:-1]).images) == 70
    with pytest.raises(UnsupportedImage) as caught:
        client.embed(images=images)
    assert caught.value.item == "images[70]"


def test_labels_are_returned_best_first(client: Client) -> None:
    result = client.classify([picture("red"), picture("blue")], ["red", "blue", "a, b"], template="a {}.")
    assert [image.predictions[0].label for image in result.data] == ["red", "blue"]
    assert sum(p.score for p in result.data[0].predictions) == pytest.approx(1, abs=1e-5)


def test_templates_and_options_reach_the_server(client: Client) -> None:
    averaged = client.classify([picture("red")], ["red", "blue"], templates=["a {}.", "{}"], top_k=1)
    named = client.classify([picture("red")], ["red", "blue"], templates="plain", multi_label=True)
    assert len(averaged.data[0].predictions) == 1
    assert len(named.data[0].predictions) == 2
    with pytest.raises(InvalidValue, match="absent"):
        client.classify([picture("red")], ["red", "blue"], templates="absent")


def test_duplicate_label_is_named(client: Client) -> None:
    with pytest.raises(InvalidValue, match="red"):
        client.classify([picture("red")], ["red", "blue", "red"])


def test_added_images_are_found_by_words_by_image_and_by_id(client: Client, pets: str) -> None:
    images = [picture("red"), picture("blue"), b"no image"]
    outcomes = client.add(
        images, ids=["r", None, "x"], metadata=[{"colour": "red"}, None, None], collection=pets
    )
    blue = hashlib.sha256(images[1]).hexdigest()[:32]
    assert [(o.id, o.status) for o in outcomes[:2]] == [("r", "created"), (blue, "created")]
    assert isinstance(outcomes[2].error, UnsupportedImage)
    assert client.search("red", collection=pets).hits[0].metadata == {"colour": "red"}
    assert client.search(image=picture("blue", (80, 80)), collection=pets, k=1).hits[0].id == blue
    assert [hit.id for hit in client.search(id="r", collection=pets).hits] == [blue]
    mixed = client.search(queries=[Query(text="red"), Query(id=blue, weight=-1)], collection=pets)
    assert [hit.id for hit in mixed.hits] == ["r"]
    counted = client.search("blue", collection=pets, facets=["colour"], collapse=0.99)
    assert [(one.field, one.n_hits, one.values[0].value) for one in counted.facets] == [("colour", 2, "red")]
    filtered = client.search("blue", collection=pets, filter={"colour": "red"})
    assert [hit.id for hit in filtered.hits] == ["r"]


def test_adding_again_changes_nothing_and_other_bytes_conflict(client: Client, pets: str) -> None:
    assert client.add([picture("red")], ids=["r"], collection=pets)[0].status == "created"
    assert client.add([picture("red")], ids=["r"], collection=pets)[0].status == "unchanged"
    assert isinstance(client.add([picture("blue")], ids=["r"], collection=pets)[0].error, Conflict)
    assert client.add([picture("blue")], ids=["r"], collection=pets, replace=True)[0].status == "replaced"


def test_bad_id_fails_its_image_only(client: Client, pets: str) -> None:
    images = [picture("red"), picture("blue"), picture("green")]
    outcomes = client.add(images, ids=["r", "not/an/id", None], collection=pets)
    assert [outcome.status for outcome in outcomes] == ["created", "failed", "created"]


def test_hundred_images_are_added_and_listed_by_page(client: Client, pets: str) -> None:
    outcomes = client.add([noise(seed, (16, 16)) for seed in range(100)], collection=pets)
    assert {outcome.status for outcome in outcomes} == {"created"}
    first = client.list_images(pets, limit=60)
    second = client.list_images(pets, after=first.next, limit=60)
    listed = [image.id for image in (*first.images, *second.images)]
    assert (listed, second.next) == (sorted(outcome.id or "" for outcome in outcomes), None)
    assert client.collection(pets).n_images == first.total == 100


def test_images_that_pass_a_filter_are_listed(client: Client, pets: str) -> None:
    metadata = [{"year": 1999}, {"year": 2001}, {}]
    client.add([noise(n) for n in range(3)], ids=["a", "b", "c"], metadata=metadata, collection=pets)
    page = client.list_images(pets, filter={"year": {"gte": 2000}})
    assert ([image.id for image in page.images], page.total) == (["b"], 1)


def test_duplicates_of_a_collection_are_found(client: Client, pets: str) -> None:
    client.add([picture("red")] * 2 + [picture("red", (64, 64))], ids=["a", "b", "c"], collection=pets)
    same, alike = client.duplicates(pets), client.duplicates(pets, kind="picture")
    assert [image.id for image in same.groups[0].images] == ["a", "b"]
    assert [(group.n_images, len(group.images)) for group in alike.groups] == [(3, 3)]
    assert (alike.next, alike.n_groups, alike.n_duplicates, alike.n_unknown) == (None, 1, 2, 0)
    assert client.duplicates(pets, after="a").groups == ()


def test_fields_of_a_collection_are_described(client: Client, pets: str) -> None:
    metadata = [{"year": 1999}, {"year": 2001}, {"colour": "red"}]
    client.add([noise(n) for n in range(3)], ids=["a", "b", "c"], metadata=metadata, collection=pets)
    found = client.fields(pets, limit=1)
    assert (found.n_images, found.n_read, found.n_fields) == (3, 3, 2)
    year, colour = found.fields
    assert (year.name, year.n_images, year.kinds, year.n_distinct) == ("year", 2, ("number",), 2)
    assert (year.values, year.min, year.max) == ((FacetValue(1999, 1),), 1999, 2001)
    assert (colour.min, colour.values) == (None, (FacetValue("red", 1),))
    assert client.fields(pets, filter={"year": 1999}).n_images == 1
    client.patch_image(pets, "c", {"camera": {"make": "X"}})
    assert [one.name for one in client.fields(pets, nested=True).fields] == [
        "year",
        "camera",
        "camera.make",
        "colour",
    ]


def test_one_image_is_read_patched_and_deleted(client: Client, pets: str) -> None:
    client.add([picture("red", (40, 32))], ids=["r"], metadata=[{"a": 1, "b": 2}], collection=pets)
    record = client.get_image(pets, "r")
    assert (record.width, record.height, record.media_type) == (40, 32, "image/png")
    assert client.original(pets, "r") == picture("red", (40, 32))
    assert len(client.thumbnail(pets, "r", size_px=64)) > 0
    assert client.patch_image(pets, "r", {"a": None, "c": 3}).metadata == {"b": 2, "c": 3}
    client.delete_image(pets, "r")
    with pytest.raises(NotFound):
        client.get_image(pets, "r")


def test_embeddings_and_stored_images_are_classified_as_their_images(client: Client, pets: str) -> None:
    labels, images = ["red", "blue"], [picture("red"), picture("blue")]
    whole, rows = client.classify(images, labels), client.embed(images=images)
    client.add(images, ids=["r", "b"], collection=pets)
    vectors = [row.embedding for row in rows.images]
    for again in (
        client.classify_embeddings(vectors, labels, model=rows.model),
        client.classify_stored(["r", "b"], labels, collection=pets),
    ):
        assert again.model == whole.model
        for one, other in zip(again.data, whole.data, strict=True):
            assert [p.label for p in one.predictions] == [p.label for p in other.predictions]
            scores = [p.score for p in other.predictions]
            assert [p.score for p in one.predictions] == pytest.approx(scores, abs=1e-5)
    with pytest.raises(Conflict, match="tiny/9"):
        client.classify_embeddings(vectors, labels, model=replace(rows.model, version=9))


def test_taken_name_is_a_conflict_and_missing_collection_is_not_found(client: Client, pets: str) -> None:
    with pytest.raises(Conflict):
        client.create_collection(pets)
    with pytest.raises(NotFound, match="absent"):
        client.search("red", collection="absent")
    with pytest.raises(NotFound, match="absent"):
        client.add([picture("red"), picture("blue")], collection="absent")


def test_server_limit_is_named_with_its_value(client: Client, pets: str) -> None:
    with pytest.raises((InvalidValue, TooLarge), match="50"):
        client.search("red", collection=pets, k=51)


def test_async_client_gives_the_same_vectors_many_at_once(server: RunningServer, client: Client) -> None:
    async def embedded() -> list[list[float]]:
        async with AsyncClient(server.url) as other:
            answers = await asyncio.gather(*(other.embed(images=[noise(seed)]) for seed in range(12)))
            return [list(answer.images[0].embedding) for answer in answers]

    alone = [list(client.embed(images=[noise(seed)]).images[0].embedding) for seed in range(12)]
    np.testing.assert_allclose(asyncio.run(embedded()), alone, atol=1e-5)


def test_key_is_accepted_by_a_server_that_requires_one(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", "--api-key", API_KEY) as running:
        with Client(running.url) as stranger, pytest.raises(Unauthorized):
            stranger.models()
        with Client(running.url, API_KEY) as friend:
            assert len(friend.models()) == 1


def test_known_images_are_sent_again_only_if_their_bytes_differ(client: Client, pets: str) -> None:
    client.add([noise(1), noise(2)], ids=["a", "b"], collection=pets)
    images, ids = [noise(1), noise(3), noise(2)], ["a", "b", "c"]
    outcomes = client.add(images, ids=ids, collection=pets, skip_known=True)
    assert [one.status for one in outcomes] == ["unchanged", "failed", "created"]
    assert isinstance(outcomes[1].error, Conflict)
    assert client.get_image(pets, "b").sha256 == hashlib.sha256(noise(2)).hexdigest()
