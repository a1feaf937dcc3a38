"""Requests with images, as tests of the HTTP API send them, and the ids in answers."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from httpx import Response


def files_of(payloads: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Return images as the `image` parts of a form for httpx."""
    return [("image", ("x", payload)) for payload in payloads]


def data_uri(payload: bytes, media_type: str = "image/png") -> str:
    """Return a file as a data URI, as JSON bodies hold it. The media type need not be true."""
    return f"data:{media_type};base64,{base64.b64encode(payload).decode()}"


def add_images(client: Any, path: str, *payloads: bytes, items: Any = None, **params: Any) -> Response:
    """Send images in a form to the path of a collection's images. `params` go into the query string."""
    files: list[tuple[str, Any]] = [*files_of(payloads)]
    if items is not None:
        files.append(("items", (None, json.dumps(items))))
    response: Response = client.post(path, files=files, params=params)
    return response


def image_ids(client: Any, path: str) -> list[str]:
    """Return the ids on the first page of a collection's images."""
    return [image["id"] for image in client.get(path).json()["images"]]
