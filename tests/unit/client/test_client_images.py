"""Images in memory are sent as PNG files, and of images by URL only the URLs are sent."""

import io
import subprocess
import sys
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from diptych_client import Client, ImageUrl, InvalidCall, InvalidValue, UnreadableFile
from support.fake_api import MODEL, FakeApi, body, embed_reply, parts, problem, search_reply

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on("POST /embed", embed_reply).on("POST /search", search_reply())


def sent_images(request: httpx.Request) -> list[Image.Image]:
    """Return the image parts of a request, decoded."""
    return [Image.open(io.BytesIO(content)) for name, content in parts(request) if name == "image"]


def turned(image: Image.Image) -> Image.Image:
    """Return the image with the EXIF orientation of a camera held sideways."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return Image.open(file)


@pytest.mark.parametrize("array", [PIXELS, PIXELS[:, ::-1], np.asfortranarray(PIXELS)])
def test_array_arrives_with_its_pixels(client: Client, api: FakeApi, array: Any) -> None:
    client.embed(images=[array])
    (sent,) = sent_images(api.requests[0])
    assert (sent.format, sent.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(sent), array)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16"])
def test_image_of_pillow_arrives_in_its_mode(client: Client, api: FakeApi, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert("I" if mode == "I;16" else mode).convert(mode)
    client.embed(images=[image])
    (sent,) = sent_images(api.requests[0])
    assert (sent.format, sent.mode) == ("PNG", mode)
    assert sent.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "F"])
def test_mode_that_png_does_not_have_becomes_rgb(client: Client, api: FakeApi, mode: str) -> None:
    source = Image.fromarray(PIXELS).convert("L" if mode == "F" else "RGB")
    image = source.convert(mode)
    client.embed(images=[image])
    (sent,) = sent_images(api.requests[0])
    assert sent.tobytes() == image.convert("RGB").tobytes()


def test_exif_orientation_is_sent(client: Client, api: FakeApi) -> None:
    client.embed(images=[turned(Image.fromarray(PIXELS))])
    assert sent_images(api.requests[0])[0].getexif()[0x0112] == 6


def test_image_in_memory_that_cannot_be_written_is_an_outcome(client: Client, api: FakeApi) -> None:
    closed = Image.fromarray(PIXELS)
    closed.close()
    rows = [{"index": index, "id": str(index), "status": "created"} for index in range(2)]
    api.on("POST /collections/pets/images", httpx.Response(200, json={"outcomes": rows}))
    outcomes = client.add([PIXELS, closed, b"c"], collection="pets")
    assert [outcome.status for outcome in outcomes] == ["created", "failed", "created"]
    assert isinstance(outcomes[1].error, UnreadableFile)
    assert "cannot be written as PNG" in str(outcomes[1].error)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            PIXELS.astype(np.float32),
            r"images\[1\] is an array of shape \(5, 7, 3\) and type float32, must be",
        ),
        (PIXELS.transpose(2, 0, 1), r"images\[1\] is an array of shape \(3, 5, 7\)"),
        (PIXELS[:, :, 0], r"images\[1\] is an array of shape \(5, 7\)"),
        (PIXELS[:0], r"images\[1\] is an array of shape \(0, 7, 3\)"),
    ],
)
def test_invalid_array_is_refused_before_anything_is_sent(
    client: Client, api: FakeApi, array: Any, words: str
) -> None:
    with pytest.raises(InvalidCall, match=words):
        client.add([b"a", array], collection="pets")
    with pytest.raises(InvalidCall, match="must be"):
        client.search(image=array)
    assert api.requests == []


def test_neither_pillow_nor_numpy_is_needed() -> None:
    program = "import sys, diptych_client; print([name for name in ('PIL', 'numpy') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


URL = "https://images.example/a.png"


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
