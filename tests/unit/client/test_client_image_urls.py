"""Images by URL: only the URLs are sent, since the server fetches them. Files are sent as usual."""

import httpx
import pytest

from diptych_client import Client, ImageUrl, InvalidValue
from support.fake_api import MODEL, FakeApi, body, embed_reply, parts, problem

URL = "https://images.example/a.png"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("POST /embed", embed_reply)


def classify_reply(request: httpx.Request) -> httpx.Response:
    predictions = [{"label": "a", "score": 1.0, "cosine": 0.3}]
    return httpx.Response(200, json={"model": MODEL, "data": [{"index": 0, "predictions": predictions}]})


def test_files_and_urls_are_embedded_in_the_order_given(client: Client, api: FakeApi) -> None:
    result = client.embed(images=[b"ccc", ImageUrl(URL), ImageUrl(URL + "?"), b"dddd", b"eeeee"])
    assert [row.embedding[1] for row in result.images] == [3, len(URL), len(URL) + 1, 4, 5]
    assert [content for _, content in parts(api.requests[0])] == [b"ccc", b"base64"]
    assert body(api.requests[1]) == {
        "input": [{"image": URL}, {"image": URL + "?"}],
        "encoding_format": "base64",
    }
    assert [content for _, content in parts(api.requests[2])] == [b"dddd", b"eeeee", b"base64"]


def test_many_urls_are_sent_in_requests_of_at_most_64_and_keep_their_order(
    client: Client, api: FakeApi
) -> None:
    urls = [ImageUrl(f"{URL}?{n}") for n in range(130)]
    assert len(client.embed(images=[b"x", *urls]).images) == 131
    assert [len(body(request)["input"]) for request in api.requests[1:]] == [64, 64, 2]
    api.on("POST /embed", embed_reply, embed_reply, problem(422, "its host answered 404", "input[3]"))
    with pytest.raises(InvalidValue) as caught:
        client.embed(images=[b"x", *urls])
    assert caught.value.item == "images[68]"


def test_classify_sends_the_same_options_beside_urls_as_beside_files(client: Client, api: FakeApi) -> None:
    api.on("POST /classify", classify_reply)
    options = {"templates": ["a {}", "{}"], "multi_label": True, "top_k": 2}
    client.classify([ImageUrl(URL), b"x"], ["a", "b"], **options)  # type: ignore[arg-type]
    assert body(api.requests[0]) == {"images": [URL], "labels": ["a", "b"], **options}
    assert parts(api.requests[1]) == [
        ("image", b"x"),
        ("labels", b'["a", "b"]'),
        ("templates", b'["a {}", "{}"]'),
        ("multi_label", b"true"),
        ("top_k", b"2"),
    ]
    client.classify([ImageUrl(URL)], ["a"], template="{}!")
    assert body(api.requests[2]) == {"images": [URL], "labels": ["a"], "template": "{}!"}


def test_url_is_hidden_from_repr() -> None:
    assert str(ImageUrl(URL)) == URL
    assert "images.example" not in repr(ImageUrl(URL))
