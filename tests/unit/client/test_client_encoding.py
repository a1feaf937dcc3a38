"""`embed`, `classify` and `search`: the requests and the results."""

import json
from base64 import b64decode
from pathlib import Path

import httpx
import numpy as np
import pytest

from diptych_client import (
    Client,
    InvalidCall,
    InvalidValue,
    ModelRef,
    NotFound,
    Query,
    VersionChanged,
)
from support.fake_api import (
    MODEL,
    FakeApi,
    base64_row,
    body,
    classify_reply,
    embed_reply,
    ok,
    parts,
    problem,
    search_reply,
)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("POST /embed", embed_reply)


def test_texts_and_images_are_returned_in_order(client: Client) -> None:
    result = client.embed(texts=["a", "bb"], images=[b"ccc", b"dddd"])
    assert [list(item.embedding) for item in result.texts] == [[0, 1], [1, 2]]
    assert [list(item.embedding) for item in result.images] == [[0, 3], [1, 4]]
    assert str(result.model) == "tiny/3 (fp32)"


def test_image_file_is_read_and_its_name_is_not_sent(client: Client, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "secret-name.png").write_bytes(b"pixels")
    client.embed(images=[tmp_path / "secret-name.png"])
    assert parts(api.requests[0]) == [("image", b"pixels"), ("encoding_format", b"base64")]
    assert b"secret" not in api.requests[0].content


def test_many_texts_are_sent_in_requests_of_at_most_256(client: Client, api: FakeApi) -> None:
    result = client.embed(texts=[str(i) for i in range(300)])
    assert [len(body(request)["input"]) for request in api.requests] == [256, 44]
    assert len(result.texts) == 300


def test_bad_item_of_a_later_request_is_named_by_its_place_in_the_call(client: Client, api: FakeApi) -> None:
    api.on("POST /embed", embed_reply, problem(422, "cannot be decoded", "input[3]"))
    with pytest.raises(InvalidValue) as caught:
        client.embed(images=[b"x"] * 130)
    assert caught.value.item == "images[67]"
    assert str(caught.value) == "images[67]: cannot be decoded (HTTP 422)"


def test_warnings_of_a_classification_are_returned_once(client: Client, api: FakeApi) -> None:
    warned = ok({"model": MODEL, "data": [], "warnings": [{"item": "labels[0]", "detail": "has commas"}]})
    api.on("POST /classify", warned, warned)
    result = client.classify([b"x"] * 65, ["a,b"])
    assert [(one.item, one.detail) for one in result.warnings] == [("labels[0]", "has commas")]
    assert len(api.requests) == 2


def test_numbers_and_texts_that_cannot_be_sent_are_refused(client: Client, api: FakeApi) -> None:
    with pytest.raises(InvalidCall, match="JSON"):
        client.search("red", filter={"n": float("nan")})
    with pytest.raises(InvalidCall, match="JSON"):
        client.classify([b"x"], [b"cat"])  # type: ignore[list-item]
    with pytest.raises(InvalidCall, match="lone surrogate"):
        client.classify([b"x"], ["a"], template="\udcff {}")
    with pytest.raises(InvalidCall, match="lone surrogate"):
        client.collection("\udcff")
    with pytest.raises(InvalidCall, match="lone surrogate"):
        client.list_images("pets", after="\udcff")
    assert api.requests == []


def test_vectors_of_two_versions_are_never_mixed(client: Client, api: FakeApi) -> None:
    row = {"index": 0, "embedding": base64_row(1)}
    newer = httpx.Response(200, json={"model": MODEL | {"version": 4}, "data": [row]})
    api.on("POST /embed", embed_reply, newer)
    with pytest.raises(VersionChanged, match=r"tiny/3 \(fp32\) to tiny/4 \(fp32\)"):
        client.embed(texts=["a"], images=[b"x"])


def test_labels_with_commas_and_options_are_sent_unchanged(client: Client, api: FakeApi) -> None:
    prediction = {"label": "red, green", "score": 0.75, "cosine": 0.3}
    data = [{"index": 0, "predictions": [prediction]}]
    api.on("POST /classify", httpx.Response(200, json={"model": MODEL, "data": data}))
    result = client.classify(
        [b"pixels"], ["red, green", "ü"], templates=["a {}.", "the {}."], multi_label=True, top_k=1
    )
    sent = dict(parts(api.requests[0]))
    assert sent["image"] == b"pixels"
    assert json.loads(sent["labels"]) == ["red, green", "ü"]
    assert json.loads(sent["templates"]) == ["a {}.", "the {}."]
    assert (sent["multi_label"], sent["top_k"]) == (b"true", b"1")
    assert result.data[0].predictions[0].label == "red, green"
    assert result.data[0].predictions[0].score == 0.75


def test_embeddings_and_ids_are_classified_without_images(client: Client, api: FakeApi) -> None:
    rows = [{"index": i, "predictions": []} for i in range(256)]
    full = httpx.Response(200, json={"model": MODEL, "data": rows})
    rest = httpx.Response(200, json={"model": MODEL, "data": rows[:4]})
    api.on("POST /classify", full, rest)
    model = ModelRef("tiny", 3, "fp32")
    vectors = np.arange(520, dtype=np.float32).reshape(260, 2)
    assert len(client.classify_embeddings(vectors, ["a", "b"], model=model, top_k=1).data) == 260
    sent = [body(request) for request in api.requests]
    assert [len(one["images"]) for one in sent] == [256, 4]
    assert sent[1]["images"][0] == {"embedding": base64_row(512, 513)}
    assert (sent[1]["model"], sent[1]["labels"], sent[1]["top_k"]) == (MODEL, ["a", "b"], 1)
    client.classify_stored(["x"], ["a"], collection="pets", multi_label=True)
    item = {"id": "x", "collection": "pets"}
    assert body(api.requests[-1]) == {"images": [item], "labels": ["a"], "multi_label": True}
    client.classify_stored(["x"], ["a"])
    assert body(api.requests[-1])["images"] == [{"id": "x"}]


def test_bad_embedding_or_id_is_named_by_its_place_in_the_call(client: Client, api: FakeApi) -> None:
    full = {"model": MODEL, "data": [{"index": 0, "predictions": []}]}
    api.on("POST /classify", httpx.Response(200, json=full), problem(404, "no image", "images[2]"))
    with pytest.raises(NotFound) as missing:
        client.classify_stored([f"i{n}" for n in range(300)], ["a"])
    assert missing.value.item == "ids[258]"
    with pytest.raises(InvalidCall, match=r"embeddings\[1\] must be a row of float32"):
        client.classify_embeddings([[1.0], np.ones((1, 2))], ["a"], model=ModelRef("tiny", 3, "fp32"))
    with pytest.raises(InvalidCall, match="needs at least one"):
        client.classify_stored([], ["a"])


def test_search_by_image_sends_a_data_uri_of_its_bytes(client: Client, api: FakeApi) -> None:
    api.on("POST /search", _found())
    client.search(image=b"\x00pixels", collection="pets", filter={"n": 1}, offset=5, exact=True)
    sent = body(api.requests[0])
    head, encoded = sent.pop("query")["image"].split(",")
    assert head == "data:application/octet-stream;base64"
    assert b64decode(encoded) == b"\x00pixels"
    assert sent == {"k": 10, "collection": "pets", "filter": {"n": 1}, "offset": 5, "exact": True}


def test_several_collections_are_searched_and_each_hit_names_its_own(client: Client, api: FakeApi) -> None:
    copy = {"id": "a", "kind": "bytes", "collection": "cars"}
    hit = {"id": "a", "cosine": 0.5, "collection": "pets", "duplicates": [copy]}
    api.on("POST /search", search_reply(hit, collection=None, collections=["pets", "cars"]))
    query = Query(id="a", collection="pets")
    found = client.search(queries=[query], collections=["pets", "cars"])
    sent = body(api.requests[0])
    assert sent["collections"] == ["pets", "cars"]
    assert sent["query"] == [{"id": "a", "collection": "pets", "weight": 1.0}]
    assert (found.collection, found.collections) == (None, ("pets", "cars"))
    assert (found.hits[0].collection, found.hits[0].duplicates[0].collection) == ("pets", "cars")


def _found() -> httpx.Response:
    return search_reply({"id": "a", "cosine": 0.5, "relevance": None, "metadata": {"n": 1}})


def test_embeddings_are_matrices_and_rows_of_numpy(client: Client, api: FakeApi) -> None:
    api.on("POST /embed", embed_reply)
    answer = client.embed(texts=["a", "bcd"], images=[b"image"])
    assert answer.text_matrix().tolist() == [[0, 1], [1, 3]]
    assert (answer.image_matrix().shape, answer.image_matrix().dtype) == ((1, 2), np.float32)
    assert np.stack(answer.texts).tolist() == [[0, 1], [1, 3]]
    assert np.shares_memory(np.asarray(answer.texts[0]), np.asarray(answer.texts[0].embedding))
    assert np.asarray(answer.texts[0], np.float64).dtype == np.float64
    assert client.embed(texts=["a"]).image_matrix().shape == (0, 0)


def test_calls_that_cannot_be_meant_are_refused_before_they_are_sent(client: Client, api: FakeApi) -> None:
    with pytest.raises(TypeError, match="texts must be a list, not one str"):
        client.embed(texts="a cat")
    with pytest.raises(TypeError, match="images must be a list, not one bytes"):
        client.classify(b"pixels", ["cat"])  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="texts or images"):
        client.embed()
    for given in ({"text": "red", "id": "a"}, {}, {"queries": [Query()]}):
        with pytest.raises(InvalidCall, match="exactly one"):
            client.search(**given)  # type: ignore[arg-type]
    with pytest.raises(InvalidCall, match="direction is given only with order_by"):
        client.search("red", direction="desc")
    assert api.requests == []


def test_long_calls_tell_how_far_they_are(client: Client, api: FakeApi) -> None:
    seen: list[tuple[int, int]] = []

    def note(n_done: int, n_items: int) -> None:
        seen.append((n_done, n_items))

    api.on("POST /embed", embed_reply)
    client.embed(texts=["a"] * 300, images=[b"image"] * 70, on_progress=note)
    assert seen == [(256, 370), (300, 370), (364, 370), (370, 370)]
    seen.clear()
    api.on("POST /classify", classify_reply(("cat", 0.9)))
    client.classify([b"image"], ["cat"], on_progress=note)
    assert seen == [(1, 1)]
