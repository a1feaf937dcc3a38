"""Collections and the images in them, one request each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diptych_client import parsing
from diptych_client.results import CollectionInfo, Deletion, ImagePage, ImageRecord, Keep
from diptych_client.steps import Request, Steps, exchange, path_of


def collections() -> Steps[list[CollectionInfo]]:
    """All collections."""
    body = (yield from exchange(Request("GET", "/collections"))).json()
    with parsing.reading("/collections"):
        return [parsing.collection_info(row) for row in body["collections"]]


def create_collection(
    name: str, *, keep: Keep = "original", precision: str = "server"
) -> Steps[CollectionInfo]:
    """A new, empty collection for the model that serves. Raises Conflict when the name is taken.

    With `keep="none"` the files of its images are not kept: there are no originals and thumbnails of them,
    and another version cannot embed them again. `precision`: that of its vectors and queries, such as "int8";
    "server" follows the server's. One that is not in use yet is loaded first, which takes seconds. Raises
    InvalidValue for one that the served version lacks.
    """
    own = {} if precision == "server" else {"precision": precision}
    request = Request("POST", "/collections", json={"name": name, "keep": keep} | own, repeatable=False)
    body = (yield from exchange(request)).json()
    with parsing.reading("/collections"):
        return parsing.collection_info(body)


def collection(name: str) -> Steps[CollectionInfo]:
    """One collection. Raises NotFound."""
    body = (yield from exchange(Request("GET", path_of("collections", name)))).json()
    with parsing.reading("a collection"):
        return parsing.collection_info(body)


def change_collection(
    name: str, *, new_name: str | None = None, keep: Keep | None = None, precision: str | None = None
) -> Steps[CollectionInfo]:
    """Rename a collection, keep the files of images that are added from now on or not, take a precision.

    Another `precision` (such as "int8", or "server" for the server's) embeds the kept images again in the
    background, and until that is done the state is "embedding"; after "failed", the same one tries again. All
    is changed or nothing. Raises NotFound, Conflict when the new name is taken, a job adds to it or rows keep
    no image that could be embedded again.
    """
    given = {"name": new_name, "keep": keep, "precision": precision}
    changes = {key: value for key, value in given.items() if value is not None}
    request = Request("PATCH", path_of("collections", name), json=changes, repeatable=False)
    body = (yield from exchange(request)).json()
    with parsing.reading("a collection"):
        return parsing.collection_info(body)


def drop_collection(name: str) -> Steps[None]:
    """Remove a collection with all its images. Raises NotFound."""
    yield from exchange(Request("DELETE", path_of("collections", name)))


def list_images(collection: str, *, after: str | None = None, limit: int = 100) -> Steps[ImagePage]:
    """At most `limit` images in the order of their ids, from the one behind `after` on."""
    params = {"limit": str(limit)} | ({} if after is None else {"after": after})
    body = (yield from exchange(Request("GET", path_of("collections", collection, "images"), params))).json()
    with parsing.reading("a listing of images"):
        return parsing.image_page(body)


def get_image(collection: str, id: str) -> Steps[ImageRecord]:
    """What is known of one image. Raises NotFound."""
    body = (yield from exchange(Request("GET", path_of("collections", collection, "images", id)))).json()
    with parsing.reading("an image"):
        return parsing.image_record(body)


def find_images(collection: str, ids: Sequence[str]) -> Steps[dict[str, ImageRecord]]:
    """Those of at most 1,000 ids that are there and can be found in a search."""
    request = Request("POST", path_of("collections", collection, "lookups"), json={"ids": list(ids)})
    body = (yield from exchange(request)).json()
    with parsing.reading("a lookup"):
        records = [parsing.image_record(row) for row in body["images"]]
    return {record.id: record for record in records}


def original(collection: str, id: str) -> Steps[bytes]:
    """The bytes that were added. Raises NotFound."""
    path = path_of("collections", collection, "images", id, "original")
    return (yield from exchange(Request("GET", path))).content


def thumbnail(collection: str, id: str, *, size_px: int = 256) -> Steps[bytes]:
    """A small picture without metadata, its longer side at most `size_px`. Raises NotFound."""
    path = path_of("collections", collection, "images", id, "thumbnail")
    return (yield from exchange(Request("GET", path, {"size": str(size_px)}))).content


def patch_image(
    collection: str,
    id: str,
    metadata: Mapping[str, Any],
) -> Steps[ImageRecord]:
    """Merge into the metadata (RFC 7396): given keys are set, keys given as None are removed."""
    request = Request("PATCH", path_of("collections", collection, "images", id), json={"metadata": metadata})
    body = (yield from exchange(request)).json()
    with parsing.reading("an image"):
        return parsing.image_record(body)


def delete_images(
    collection: str,
    *,
    filter: Mapping[str, Any] | None = None,
    lacking: bool = False,
    preview: bool = False,
) -> Steps[Deletion]:
    """Remove the images whose metadata passes a filter, or with `preview` tell how many that would be.

    `lacking`: only those that have no vector of the version that serves. One of the two must be given.
    """
    asked = {"filter": filter, "lacking": lacking, "preview": preview}
    request = Request("POST", path_of("collections", collection, "deletions"), json=asked)
    body = (yield from exchange(request)).json()
    with parsing.reading("a deletion"):
        return Deletion(int(body["n_images"]), bool(body["preview"]), tuple(map(str, body["ids"])))


def delete_image(collection: str, id: str) -> Steps[None]:
    """Remove one image. Raises NotFound."""
    yield from exchange(Request("DELETE", path_of("collections", collection, "images", id)))
