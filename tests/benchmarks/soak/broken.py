"""Requests that are wrong in themselves, and the statuses that are right for each; opens no connection."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.serving.default_model import MODEL
from benchmarks.serving.http_message import BOUNDARY, JSON, MULTIPART, Part, form
from benchmarks.soak.messages import get, items_part, plain, post_form, post_json
from benchmarks.soak.world import GALLERY, ODD, World

FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Broken:
    """One request as it goes over the wire."""

    name: str
    message: bytes
    wanted: frozenset[int]


def broken(world: World) -> list[Broken]:
    """All of them; names are unique."""
    good = world.pictures[0].payload
    found = [*_http(), *_json(), *_forms(good), *_values(good), *_stored(good)]
    assert len({one.name for one in found}) == len(found)
    return found


def _http() -> Iterator[Broken]:
    yield _wrong("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n", 400)
    yield _wrong("a method in small letters", b"what is this\r\n\r\n", 400)
    yield _wrong("a length that is no number", plain("POST", "/embed", Content_Length="many"), 400)
    yield _wrong("two lengths", plain("POST", "/embed", b"1234", Content_Length="9"), 400)
    yield _wrong(
        "a length of 10 GB", plain("POST", "/embed", Content_Type="image/png", Content_Length="9" * 10), 413
    )
    yield _wrong("a chunk whose size is no number", _chunked(b"zz\r\nhello\r\n"), 400)
    yield _wrong("a header of 200 kB", plain("GET", "/version", X_Long="x" * 200_000), 200, 400, 431)
    yield _wrong("a path of 60 kB", get("/" + "a" * 60_000), 400, 404, 414)
    yield _wrong("a path with nothing", get("/collections/%00/images"), 404, 422)
    yield _wrong("a path out of the house", get("/assets/..%2f..%2f..%2fetc/passwd"), 404)
    yield _wrong("no such path", get("/nothing"), 404)
    yield _wrong("another method", plain("DELETE", "/embed"), 405)
    yield _wrong("another host", b"GET /models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403)
    yield _wrong("another origin", plain("POST", "/embed", b"x", Origin="https://evil.example"), 403)
    yield _wrong(
        "a compressed body", plain("POST", "/embed", b"x", Content_Type=JSON, Content_Encoding="gzip"), 415
    )


def _json() -> Iterator[Broken]:
    for name, body in {
        "that ends early": b'{"input": [{"text": "a',
        "of nothing": b"",
        "that is none": b"input=cat",
        "in UTF-16": '{"input": []}'.encode("utf-16"),
        "nested 100,000 deep": b'{"input": ' + b"[" * 100_000,
        "with a number of 10,000 digits": b'{"input": ' + b"9" * 10_000 + b"}",
    }.items():
        yield _wrong(f"JSON {name}", plain("POST", "/embed", body, Content_Type=JSON), 400)
    for name, body in {
        "with NaN": b'{"input": [{"text": NaN}]}',
        "with a lone surrogate": b'{"input": [{"text": "\\ud800"}]}',
        "that is a list": b"[]",
        "with 50,000 unknown keys": b"{" + b",".join(b'"k%d": 0' % i for i in range(50_000)) + b"}",
        "with a data URI of nothing": b'{"input": [{"image": "data:image/png;base64,"}]}',
        "with a data URI that is none": b'{"input": [{"image": "data:image/png;base64,%%%%"}]}',
        "with a URL": b'{"input": [{"image": "http://169.254.169.254/latest/meta-data"}]}',
        "with a file": b'{"input": [{"image": "file:///etc/passwd"}]}',
    }.items():
        yield _wrong(f"JSON {name}", plain("POST", "/embed", body, Content_Type=JSON), 400, 415, 422)
    yield _wrong("300 items", post_json("/embed", {"input": [{"text": "cat"}] * 300}), 413)
    yield _wrong("a text of 20,000 characters", post_json("/embed", {"input": [{"text": "x" * 20_000}]}), 413)


def _forms(good: bytes) -> Iterator[Broken]:
    whole = form([Part("image", good, "image/png")])
    typed = {"Content_Type": MULTIPART}
    yield _wrong(
        "a form without boundary", plain("POST", "/embed", whole, Content_Type="multipart/form-data"), 400
    )
    yield _wrong("a form cut short", plain("POST", "/embed", whole[: len(whole) // 2], **typed), 400)
    yield _wrong("a form of noise", plain("POST", "/embed", bytes(range(256)) * 20, **typed), 400)
    yield _wrong("a form of nothing", plain("POST", "/embed", b"", **typed), 400)
    nameless = f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()
    yield _wrong("a part without a name", plain("POST", "/embed", nameless, **typed), 400)
    yield _wrong("a field that nobody knows", post_form("/embed", [Part("picture", good, "image/png")]), 422)
    yield _wrong("300 parts", post_form("/embed", [Part("text", b"cat")] * 300), 413)
    yield _wrong("text that is not UTF-8", post_form("/embed", [Part("text", b"\xff\xfe\xfa")]), 400)


def _values(good: bytes) -> Iterator[Broken]:
    image = Part("image", good, "image/png")
    yield _wrong("labels twice the same", post_form("/classify", [image, *_labels("cat", "cat")]), 422)
    yield _wrong("an empty label", post_form("/classify", [image, *_labels("cat", "")]), 422)
    yield _wrong("no labels", post_form("/classify", [image]), 422)
    yield _wrong("20,000 labels", post_form("/classify", [image, *_labels(*map(str, range(20_000)))]), 413)
    yield _wrong(
        "a template without a place",
        post_form("/classify", [image, *_labels("cat"), Part("template", b"x")]),
        422,
    )
    yield _wrong("words of nothing", get("/search?q=%20"), 422)
    yield _wrong("a million hits", get("/search?q=cat&k=1000000"), 422)
    yield _wrong("a collection that is not there", get("/search?q=cat&collection=nowhere"), 404)
    yield _wrong(
        "an id that is not there",
        post_json("/search", {"query": {"id": "nobody"}, "collection": GALLERY}),
        404,
    )
    deep: dict = {"style": "a"}
    for _ in range(100):
        deep = {"not": deep}
    yield _wrong("a filter 100 deep", post_json("/search", {"query": {"text": "cat"}, "filter": deep}), 422)
    yield _wrong("a weight of nothing", post_json("/search", {"query": [{"text": "cat", "weight": 0}]}), 422)
    yield _wrong("another model", post_json("/v1/embeddings", {"model": "gpt", "input": "cat"}), 404)
    yield _wrong("tokens for texts", post_json("/v1/embeddings", {"model": MODEL, "input": [1, 2, 3]}), 422)


def _stored(good: bytes) -> Iterator[Broken]:
    images = f"/collections/{ODD}/images"
    image = Part("image", good, "image/png")
    yield _wrong("65 images in one add, which is a job", post_form(images, [image] * 65), 202, 429)
    yield _wrong("an id out of the house", post_form(images, [image, items_part([{"id": "../../x"}])]), 422)
    yield _wrong(
        "metadata of 60 kB",
        post_form(images, [image, items_part([{"metadata": {"a": "x" * 60_000}}])]),
        413,
        422,
    )
    yield _wrong(
        "ids of other images", post_form(images, [image, items_part([{"id": "a"}, {"id": "b"}])]), 422
    )
    taken = post_form(
        f"/collections/{GALLERY}/images", [Part("image", b"", "image/png"), items_part([{"id": "cat"}])]
    )
    yield _wrong("an id that is taken", taken, 409)
    yield _wrong(
        "a thumbnail of 7 pixels", get(f"/collections/{GALLERY}/images/airplane/thumbnail?size=7"), 422
    )
    yield _wrong("a thumbnail that is not there", get(f"{images}/nobody/thumbnail"), 404)
    yield _wrong("deletion of what is not there", plain("DELETE", f"{images}/nobody"), 404)
    yield _wrong("a collection that is there", post_json("/collections", {"name": GALLERY}), 409)
    yield _wrong("a collection with a slash", post_json("/collections", {"name": "../x"}), 422)


def _chunked(body: bytes) -> bytes:
    return plain("POST", "/embed", Content_Type=JSON, Transfer_Encoding="chunked") + body


def _labels(*labels: str) -> list[Part]:
    return [Part("labels", label.encode()) for label in labels]


def _wrong(name: str, message: bytes, *wanted: int) -> Broken:
    return Broken(name, message, frozenset(wanted))
