"""Hooks for schemathesis: valid values where openapi.json cannot say what is valid. See docs/http-api.md.

A schema cannot say which bytes are a picture, what the served version has, or that two fields of a form are
about the same number of items.
"""

import base64
import io
import tarfile
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary

EMBED_DIM = 448  # of the default model
UNIT_VECTOR = [1.0] + [0.0] * (EMBED_DIM - 1)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE, DATA_URI = base64.b64decode(PIXEL), f"data:image/png;base64,{PIXEL}"


def archive() -> bytes:
    """A tar archive with one picture."""
    out, entry = io.BytesIO(), tarfile.TarInfo("a.png")
    entry.size = len(PICTURE)
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(PICTURE))
    return out.getvalue()


schemathesis.openapi.format("binary", st.just("a file"))  # see `complete`
schemathesis.openapi.format("image", st.just(DATA_URI))
schemathesis.openapi.format("image-base64", st.just(PIXEL))
schemathesis.openapi.format("precision", st.sampled_from(["server", "fp32"]))
schemathesis.openapi.format("template-set", st.just("default"))
schemathesis.openapi.media_type("image/*", st.just(PICTURE))
schemathesis.openapi.media_type("application/x-tar", st.just(archive()))


@schemathesis.hook("before_call")
def complete(context: Any, case: Any, **_: Any) -> None:
    """Change a request to a like one with values that this server has."""
    body = case.body if isinstance(case.body, dict) else {}
    if case.operation.path == "/search":  # the default collection is there, others are a 404
        body.pop("collection", None)
        case.query = {name: value for name, value in (case.query or {}).items() if name != "collection"}
    if case.operation.path == "/classify" and isinstance(body.get("images"), list):
        body.pop("model", None)  # what serves; images may be nothing else than files then
        body["images"] = [one if isinstance(one, str) else DATA_URI for one in body["images"]]
    if case.operation.path.startswith(("/v1/", "/hf/")):
        _keep_to_one_item_of_the_model(body)
    if case.operation.path == "/collections/{collection}/vectors":  # as many numbers as the model's vectors
        for item in body.get("items", ()):
            if isinstance(item, dict) and "embedding" in item:
                item["embedding"] = UNIT_VECTOR
    if case.media_type == "multipart/form-data":
        body.update(_with_files(body))


def _keep_to_one_item_of_the_model(body: dict[str, Any]) -> None:
    """Dimensions that the model has, no texts where images are announced, and one text in all messages."""
    body.update({name: EMBED_DIM for name in ("dimensions", "output_dimension") if body.get(name)})
    body.pop("modality", None)
    if body.get("messages"):
        body["messages"] = [{"role": "user", "content": "a cat"}]


def _with_files(form: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    images, items, texts = form.get("image"), form.get("items"), form.get("text")
    if isinstance(images, list):
        n = min(len(images), len(items)) if isinstance(items, list) else len(images)
        if isinstance(texts, list):  # as many as the limit, both together
            n, changed["text"] = max(1, n - 1), texts[:1]
        changed["image"] = [Binary(PICTURE)] * n
        if isinstance(items, list):
            changed["items"] = items[:n]
    if "embeddings" in form:
        changed["embeddings"] = Binary(bytes(4 * EMBED_DIM))
    return changed
