"""Read ready-made vectors from JSON or a form. Knows nothing of collections."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from diptych.core.types import NewVector, VectorOrigin
from diptych.errors import InvalidValue
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_count, check_lengths
from diptych.http.parsing.multipart import read_parts
from diptych.http.requests import AddItem, AddItems, AddVectorsRequest, VectorModel

FLOAT = np.dtype("<f4")
MAX_KEYS = 2_000_000  # of metadata too
_FIELDS = ("model", "embeddings", "items")
_ABOUT = "one of each field is enough"


@dataclass(frozen=True)
class ParsedVectors:
    """N vectors, and what made them."""

    origin: VectorOrigin
    items: Sequence[NewVector]


async def read_vectors(
    request: Request, options: HttpOptions, embed_dim: int, check: Callable[[VectorOrigin], None]
) -> ParsedVectors:
    """Either of the accepted bodies. `check` sees what made the vectors before they are looked at.

    Raises InputError naming `items[i]`, HTTPException 415 and 408, and what `check` raises.
    """
    kind, limit = media_type(request), options.limits.max_add_vectors
    if kind == JSON:
        body = await read_body(request, options.body)
        return await asyncio.to_thread(_from_json, body, limit, check)
    if kind == MULTIPART:
        form = Form(await read_parts(request, options.body, len(_FIELDS), _ABOUT), _FIELDS)
        return await asyncio.to_thread(_from_form, form, limit, embed_dim, check)
    raise unsupported(request, (JSON, MULTIPART))


def _from_json(body: bytearray, limit: int, check: Callable[[VectorOrigin], None]) -> ParsedVectors:
    asked = validated(AddVectorsRequest, check_lengths(parse_json(body, max_keys=MAX_KEYS), {"items": limit}))
    check_count(asked.items, "items", limit)
    origin = _origin(asked.model)
    check(origin)
    return ParsedVectors(
        origin,
        [
            NewVector(_numbers(item.embedding, f"items[{i}].embedding"), item.id, item.metadata)
            for i, item in enumerate(asked.items)
        ],
    )


def _from_form(
    form: Form, limit: int, embed_dim: int, check: Callable[[VectorOrigin], None]
) -> ParsedVectors:
    model = form.json("model")
    origin = _origin(validated(VectorModel, {} if model is None else model))
    check(origin)
    rows = _rows(form, embed_dim)  # (N, D)
    check_count(rows, "embeddings", limit)
    items = _items(form, len(rows), limit)
    return ParsedVectors(
        origin, [NewVector(row, item.id, item.metadata) for row, item in zip(rows, items, strict=True)]
    )


def _rows(form: Form, embed_dim: int) -> NDArray[np.float32]:
    parts = list(form.parts("embeddings"))
    if len(parts) != 1:
        raise InvalidValue(f"must be there once, is there {len(parts)} times", "embeddings")
    n_bytes, row_bytes = len(parts[0].data), embed_dim * FLOAT.itemsize
    if n_bytes % row_bytes:
        raise InvalidValue(
            f"has {n_bytes} bytes, a row of {embed_dim} float32 numbers has {row_bytes}", "embeddings"
        )
    return np.frombuffer(parts[0].data, FLOAT).reshape(-1, embed_dim)


def _items(form: Form, n_rows: int, limit: int) -> Sequence[AddItem]:
    given = form.json("items")
    if given is None:
        return [AddItem()] * n_rows
    items = validated(AddItems, check_lengths({"items": given}, {"items": limit})).items
    if len(items) != n_rows:
        raise InvalidValue(f"has {len(items)} entries for {n_rows} embeddings", "items")
    return items


def _numbers(embedding: list[float] | str, name: str) -> NDArray[np.float32]:
    """(D,), its length unchecked; numbers beyond float32 become infinite, and fail as such."""
    if isinstance(embedding, list):
        with np.errstate(over="ignore"):
            return np.array(embedding, FLOAT)
    try:
        payload = base64.b64decode(embedding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"base64 is broken: {error}", name) from None
    if len(payload) % FLOAT.itemsize:
        raise InvalidValue(f"base64 of {len(payload)} bytes, which are no float32 numbers", name)
    return np.frombuffer(payload, FLOAT)


def _origin(model: VectorModel) -> VectorOrigin:
    return VectorOrigin(model.name, model.version, model.precision, model.decode, model.identity)
