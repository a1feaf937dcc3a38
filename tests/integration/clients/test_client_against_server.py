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
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    Query,
    UnsupportedImage,
)
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle


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


def test_embeddings_have_unit_norm_and_the_order_of_the_call(client: Client, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    result = client.embed(texts=["red", ""], images=[tmp_path / "red.png", picture("blue")])
    rows = np.stack([item.embedding for item in (*result.texts, *result.images)])
    assert rows.shape == (4, EMBED_DIM)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[2] > rows[0] @ rows[3]  # "red" lies nearer to the red picture


def test_more_images_than_one_request_takes_are_embedded(client: Client) -> None:
    images = [picture("red"), *[picture("blue")] * 69, b"no image"]
    assert len(client.embed(images=images[:-1]).images) == 70
    with pytest.raises(UnsupportedImage) as caught:
        client.embed(images=images)
    assert caught.value.item == "images[70]"


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
    worded = client.search("red", collection=pets, match="words")
    assert [(hit.id, hit.matched, hit.matched_fields) for hit in worded.hits] == [
        ("r", ("words",), ("colour",))
    ]
    with pytest.raises(ApiError, match=r"order_by: .* is not calibrated"):
        client.search("blue", collection=pets, order_by="colour", direction="desc")
    filtered = client.search("blue", collection=pets, filter={"colour": "red"})
    assert [hit.id for hit in filtered.hits] == ["r"]


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


def test_async_client_gives_the_same_vectors_many_at_once(server: RunningServer, client: Client) -> None:
    async def embedded() -> list[list[float]]:
        async with AsyncClient(server.url) as other:
            answers = await asyncio.gather(*(other.embed(images=[noise(seed)]) for seed in range(12)))
            return [list(answer.images[0].embedding) for answer in answers]

    alone = [list(client.embed(images=[noise(seed)]).images[0].embedding) for seed in range(12)]
    np.testing.assert_allclose(asyncio.run(embedded()), alone, atol=1e-5)


def test_known_images_are_sent_again_only_if_their_bytes_differ(client: Client, pets: str) -> None:
    client.add([noise(1), noise(2)], ids=["a", "b"], collection=pets)
    images, ids = [noise(1), noise(3), noise(2)], ["a", "b", "c"]
    outcomes = client.add(images, ids=ids, collection=pets, skip_known=True)
    assert [one.status for one in outcomes] == ["unchanged", "failed", "created"]
    assert isinstance(outcomes[1].error, Conflict)
    assert client.get_image(pets, "b").sha256 == hashlib.sha256(noise(2)).hexdigest()
