"""Whole requests as bytes, beside those that `serving.http_message` makes; opens no connection."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.serving.http_message import END_OF_HEADER, JSON, MULTIPART, OCTETS, Part, form, request


def plain(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """Any method; underscores of header names become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + END_OF_HEADER + (body or b"")


def get(path: str) -> bytes:
    return plain("GET", path)


def post_json(path: str, value: Any, accept: str = JSON) -> bytes:
    return request(path, json.dumps(value).encode(), JSON, accept)


def post_form(path: str, parts: Sequence[Part], accept: str = JSON) -> bytes:
    return request(path, form(parts), MULTIPART, accept)


def post_picture(path: str, payload: bytes, media_type: str = "image/png") -> bytes:
    """As the whole body, answered by raw float32."""
    return request(path, payload, media_type, OCTETS)


def items_part(items: Sequence[Mapping[str, Any]]) -> Part:
    """Ids and metadata of the images of an add."""
    return Part("items", json.dumps(list(items)).encode())
