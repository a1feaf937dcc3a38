"""Hooks for schemathesis: valid values where openapi.json cannot say what is valid. See docs/http-api.md.

A schema cannot say which bytes are a picture, what the served version has, or that two fields of a form are
about the same number of items. Requests that are meant to be invalid stay as they are.

SERVED_BUNDLE: the folder of the served version, whose folder has the name of its model.
"""

import base64
import io
import json
import os
import re
import struct
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis.transport.requests import REQUESTS_TRANSPORT, multipart_serializer
from schemathesis.transport.serialization import Binary

from diptych.core.collections.metadata.filter_parser import MAX_CLAUSES

BUNDLE = Path(os.environ["SERVED_BUNDLE"])
EMBED_DIM = json.loads((BUNDLE / "manifest.json").read_text())["embed_dim"]
UNIT_VECTOR = [1.0] + [0.0] * (EMBED_DIM - 1)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE, DATA_URI = base64.b64decode(PIXEL), f"data:image/png;base64,{PIXEL}"
ADDS = {"/collections/{collection}/images", "/collections/{collection}/vectors"}
MAX_QUERY_CHARS = 60_000
IN_THE_FUTURE = "2099-01-31T00:00:00Z"


def archive(files: dict[str, bytes]) -> bytes:
    """A tar archive with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, payload in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(payload)
            tar.addfile(entry, io.BytesIO(payload))
    return out.getvalue()


def bundle() -> bytes:
    """The archive of a version, its manifest first."""
    files = sorted(BUNDLE.iterdir(), key=lambda file: (file.name != "manifest.json", file.name))
    return archive({file.name: file.read_bytes() for file in files if file.is_file()})


schemathesis.openapi.format("binary", st.just("a file"))  # see `form`
schemathesis.openapi.format("image", st.just(DATA_URI))
schemathesis.openapi.format("image-base64", st.just(PIXEL))
schemathesis.openapi.format("precision", st.just("fp32"))
schemathesis.openapi.format("moment", st.sampled_from(["2024", "2024-05", "2024-05-31T18:30:15+02:00"]))
schemathesis.openapi.format("template-set", st.just("default"))
schemathesis.openapi.media_type("image/*", st.just(PICTURE))
schemathesis.openapi.media_type("application/x-tar", st.just(archive({"a.png": PICTURE})))


@schemathesis.hook("before_load_schema")
def keep_filters_flat(context: Any, raw_schema: dict[str, Any]) -> None:
    """Describe filters with one level of `and`, `or` and `not` if FLAT_FILTERS is set.

    schemathesis would take hours to make values at every limit of filters within filters.
    """
    if "FLAT_FILTERS" in os.environ:
        schemas = raw_schema["components"]["schemas"]
        inner = {name: rule for name, rule in schemas["Filter"].items() if name != "properties"}
        schemas["FlatFilter"] = inner
        flat = json.dumps(schemas["Filter"]).replace("schemas/Filter", "schemas/FlatFilter")
        schemas["Filter"] = json.loads(flat)


def is_meant_to_be_invalid(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_negative


@REQUESTS_TRANSPORT.serializer("image/*")
def picture(context: Any, value: Any) -> dict[str, Any]:
    return {"data": PICTURE if isinstance(value, str) else value}


@REQUESTS_TRANSPORT.serializer("application/x-tar")
def tar(context: Any, value: Any) -> dict[str, Any]:
    if context.case.operation.path == "/models/{name}/versions":
        return {"data": bundle()}
    return {"data": archive({"a.png": PICTURE}) if isinstance(value, str) else value}


@REQUESTS_TRANSPORT.serializer("multipart/form-data")
def form(context: Any, value: Any) -> dict[str, Any]:
    """A form with pictures and embeddings in place of the texts that stand for files."""
    if isinstance(value, dict) and not is_meant_to_be_invalid(context.case):
        value = dict(value)
        if isinstance(value.get("image"), list):
            value["image"] = [Binary(PICTURE) for _ in value["image"]]
        if "embeddings" in value:
            value["embeddings"] = Binary(struct.pack(f"<{EMBED_DIM}f", *UNIT_VECTOR))
    serialized: dict[str, Any] = multipart_serializer(context, value)
    return serialized


@schemathesis.hook("filter_case")
def is_as_meant(context: Any, case: Any) -> bool:
    """Leave out requests that are not what they are meant to be, valid or invalid.

    A filter is made without a look at its `minProperties`, and its limit is on the clauses of all levels. In
    a form a list becomes several fields, and a number a text. An empty file of an add, or an id that is not
    allowed, is an outcome of its own, not an error. A request that is longer than the server's parser of
    HTTP reads gets no answer of the API.
    """
    if len(quote(json.dumps(case.query or {}, default=str))) > MAX_QUERY_CHARS:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    if not is_meant_to_be_invalid(case):
        filters = [_parsed(given.get("filter")) for given in (case.query or {}, body)]
        return all(one is None or 0 < _n_clauses(one) <= MAX_CLAUSES for one in filters)
    if case.media_type == "multipart/form-data":
        return not _is_valid_form(case, body)
    adds_json = case.operation.path in ADDS and case.media_type == "application/json"
    return not (adds_json and _is_valid(case, _with_valid_ids(body)))


def _is_valid_form(case: Any, body: dict[str, Any]) -> bool:
    """Whether the form is valid as it is sent: with texts as fields, and lists as repeated fields."""
    values = [one for value in body.values() if isinstance(value, list) for one in value]
    if any(one in ("", None) or isinstance(one, list) for one in values):
        return True
    fields = _schema_of_body(case)["properties"]
    sent = {name: _as_sent(value, fields.get(name, {})) for name, value in body.items()}
    return _is_valid(case, _with_valid_ids(sent) if case.operation.path in ADDS else sent)


def _is_valid(case: Any, body: dict[str, Any]) -> bool:
    components = case.operation.schema.raw_schema["components"]
    return bool(Draft202012Validator({**_schema_of_body(case), "components": components}).is_valid(body))


def _schema_of_body(case: Any) -> dict[str, Any]:
    contents: dict[str, Any] = case.operation.definition.raw["requestBody"]["content"]
    schema: dict[str, Any] = contents[case.media_type]["schema"]
    return schema


def _with_valid_ids(body: dict[str, Any]) -> dict[str, Any]:
    """The body of an add, with ids that are allowed: one that is not fails its own item, not the request."""
    items = body.get("items")
    if not isinstance(items, list):
        return body
    return {**body, "items": [_with_valid_id(item) for item in items]}


def _with_valid_id(item: Any) -> Any:
    has_text = isinstance(item, dict) and isinstance(item.get("id"), str)
    return {**item, "id": "an-id"} if has_text else item


def _as_sent(value: Any, field: dict[str, Any]) -> Any:
    """What a form has for this value of a field."""
    if field.get("type") == "array":
        return [_as_sent(one, field["items"]) for one in (value if isinstance(value, list) else [value])]
    return str(value) if isinstance(value, int | float) and field.get("type") == "string" else value


def _parsed(value: Any) -> Any:
    """The filter of a query or a form, which is text, or of a body."""
    return json.loads(value) if isinstance(value, str) else value


def _n_clauses(value: Any) -> int:
    """The number of conditions of a filter, on all its levels."""
    if isinstance(value, list):
        return sum(map(_n_clauses, value))
    if not isinstance(value, dict):
        return 1
    return sum(_n_clauses(one) if name in ("and", "or", "not") else 1 for name, one in value.items())


@schemathesis.hook("before_call")
def complete(context: Any, case: Any, **_: Any) -> None:
    """Change a request to a like one with values that this server has."""
    path, body = case.operation.path, case.body if isinstance(case.body, dict) else {}
    if case.media_type == "multipart/form-data":  # a form cannot say that a list is empty
        for name in [name for name, value in body.items() if value == []]:
            del body[name]
    if is_meant_to_be_invalid(case):
        return
    if isinstance(case.body, dict):
        case.body = body = _with_pictures(body)
    _complete_body(path, body)
    if path == "/search":
        _keep_to_default_collection(case, body)
    if (case.query or {}).get("order_by") is None:
        case.query = {name: value for name, value in (case.query or {}).items() if name != "direction"}
    elif path == "/collections/{collection}/images":
        case.query.pop("after", None)  # only a page before has the one of the next
    if path == "/models/{name}/versions/{version}/comparison":  # with another one than itself
        case.query = {**(case.query or {}), "against": int(case.path_parameters["version"]) + 1}
    if case.media_type == "multipart/form-data":
        _match_numbers(body)


def _keep_to_default_collection(case: Any, body: dict[str, Any]) -> None:
    """The default collection is there, others are a 404."""
    body.pop("collection", None)
    for name in ("min_relevance", "order_by", "direction"):  # they need a version that is calibrated
        body.pop(name, None)
    body.pop("match", None)  # needs one text among the queries
    queries = body.get("query", [])
    for query in queries if isinstance(queries, list) else [queries]:
        query.pop("collection", None)
    others = {"collection", "min_relevance", "order_by", "direction"}
    case.query = {name: value for name, value in (case.query or {}).items() if name not in others}
    for given in (body, case.query):
        if given.get("collapse") is not None:  # reaches less far than searches without it
            given.pop("offset", None)


def _with_pictures(value: Any) -> Any:
    """The value with a picture for every data URI, which may be of no or any bytes."""
    if isinstance(value, list):
        return [_with_pictures(one) for one in value]
    if isinstance(value, dict):
        return {name: _with_pictures(one) for name, one in value.items()}
    return DATA_URI if isinstance(value, str) and re.match("data:.*;base64,", value) else value


def _complete_body(path: str, body: dict[str, Any]) -> None:
    if path == "/classify" and isinstance(body.get("images"), list):
        body.pop("model", None)  # what serves; images may be nothing else than files then
        body["images"] = [one if isinstance(one, str) else DATA_URI for one in body["images"]]
    if path == "/v1/embeddings":
        _keep_to_one_item_of_the_model(body)
    if path == "/hf/feature-extraction":
        body.pop("truncate", None)  # a text that is too long may be refused
        body.update({"dimensions": EMBED_DIM} if body.get("dimensions") else {})
    if path == "/collections/{collection}/vectors":  # as many numbers as the model's vectors
        for item in body.get("items", ()):
            if isinstance(item, dict) and "embedding" in item:
                item["embedding"] = UNIT_VECTOR
    if path == "/collections/{collection}/label-sets/{label_set}" and body:  # labels may differ in case only
        body["labels"] = [str(n) for n, _ in enumerate(body["labels"])]
    if path == "/keys" and body:
        body.update({"expires_at": IN_THE_FUTURE} if body.get("expires_at") else {})
        if not body["name"].isprintable():
            body["name"] = "a key"


def _keep_to_one_item_of_the_model(body: dict[str, Any]) -> None:
    """Dimensions that the model has, no texts where images are announced, and one text in all messages."""
    body.update({name: EMBED_DIM for name in ("dimensions", "output_dimension") if body.get(name)})
    body.pop("modality", None)
    if body.get("messages"):
        body["messages"] = [{"role": "user", "content": "a cat"}]


def _match_numbers(form: dict[str, Any]) -> None:
    """As many items as pictures, and no more pictures and texts together than the limit."""
    images, items, texts = form.get("image"), form.get("items"), form.get("text")
    if "embeddings" in form and isinstance(items, list):
        form["items"] = items[:1]
    if not isinstance(images, list):
        return
    if isinstance(texts, list):
        form["image"], form["text"] = images[: max(1, len(images) - 1)], texts[:1]
    if isinstance(items, list):
        n = min(len(images), len(items))
        form["image"], form["items"] = images[:n], items[:n]
