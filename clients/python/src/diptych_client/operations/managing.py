"""Calls about collections and their images, one request each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diptych_client.binding import Call
from diptych_client.results.collections import CollectionInfo, Keep
from diptych_client.results.images import Deletion, ImageRecord
from diptych_client.steps import Request, Steps, exchange, path_of, result_of


def collections() -> Steps[list[CollectionInfo]]:
    """List all collections.

    >>> [(one.name, one.n_images) for one in client.collections()]
    [('album', 0), ('default', 0), ('pets', 2)]
    """
    return result_of(Request("GET", "/collections"), list[CollectionInfo], "collections")


def create_collection(
    name: str, *, keep: Keep = "original", text_fields: Sequence[str] | None = None
) -> Steps[CollectionInfo]:
    """Create an empty collection for the served model. Raises Conflict when the name is taken.

    With `keep="none"` image files are not kept: such images have no original and no thumbnail, and another
    version cannot embed them again. `text_fields` are the dotted paths of the metadata whose words can be
    searched, such as `["caption", "file.name"]`; without them it is all metadata.

    >>> client.create_collection("scans", keep="none").name
    'scans'
    """
    json: dict[str, Any] = {"name": name, "keep": keep}
    if text_fields is not None:
        json["text_fields"] = list(text_fields)
    request = Request("POST", "/collections", json=json, repeatable=False)
    return result_of(request, CollectionInfo)


def collection(name: str) -> Steps[CollectionInfo]:
    """Return one collection. Raises NotFound.

    >>> client.collection("pets").n_images
    2
    """
    return result_of(Request("GET", path_of("collections", name)), CollectionInfo)


def change_collection(
    name: str,
    *,
    new_name: str | None = None,
    keep: Keep | None = None,
    text_fields: Sequence[str] | Literal["all"] | None = None,
) -> Steps[CollectionInfo]:
    """Change the name of a collection, whether it keeps the files of new images, and the metadata whose words
    can be searched: all of it or nothing. None changes nothing.

    `text_fields` are dotted paths, or "all". The words of all its images are indexed again then, in the
    background. Raises NotFound, and Conflict when the new name is taken or a job is adding to the collection.

    >>> client.change_collection("pets", new_name="animals").name
    'animals'
    """
    given = {"name": new_name, "keep": keep}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if text_fields is not None:
        changes["text_fields"] = None if text_fields == "all" else list(text_fields)
    request = Request("PATCH", path_of("collections", name), json=changes, repeatable=False)
    return result_of(request, CollectionInfo)


def drop_collection(name: str) -> Steps[None]:
    """Delete a collection with all its images. Raises NotFound.

    >>> client.drop_collection("pets")
    """
    yield from exchange(Request("DELETE", path_of("collections", name), idempotent=False))


def get_image(collection: str, id: str) -> Steps[ImageRecord]:
    """Return the record of one image. Raises NotFound.

    >>> client.get_image("pets", "tom").metadata
    {'kind': 'cat'}
    """
    return result_of(Request("GET", path_of("collections", collection, "images", id)), ImageRecord)


def find_images(collection: str, ids: Sequence[str]) -> Steps[dict[str, ImageRecord]]:
    """Look up at most 1,000 ids. Return the images that exist and can be found in a search, by id.

    >>> sorted(client.find_images("pets", ["tom", "nobody"]))
    ['tom']
    """
    request = Request("POST", path_of("collections", collection, "lookups"), json={"ids": list(ids)})
    records = yield from result_of(request, list[ImageRecord], "images")
    return {record.id: record for record in records}


def original(collection: str, id: str) -> Steps[bytes]:
    """Return the bytes of the added file. Raises NotFound.

    >>> payload = client.original("pets", "tom")
    >>> payload[:4]
    b'\\x89PNG'
    """
    path = path_of("collections", collection, "images", id, "original")
    return (yield from exchange(Request("GET", path))).content


def thumbnail(collection: str, id: str, *, size_px: int = 256) -> Steps[bytes]:
    """Return a small image without metadata, its longer side at most `size_px`. Raises NotFound.

    >>> len(client.thumbnail("pets", "tom", size_px=128)) > 0
    True
    """
    path = path_of("collections", collection, "images", id, "thumbnail")
    return (yield from exchange(Request("GET", path, {"size": str(size_px)}))).content


def patch_image(
    collection: str,
    id: str,
    metadata: Mapping[str, Any],
) -> Steps[ImageRecord]:
    """Merge `metadata` into that of an image (RFC 7396): sets the given keys, removes keys that are None.

    >>> client.patch_image("pets", "tom", {"name": "Tom", "kind": None}).metadata
    {'name': 'Tom'}
    """
    request = Request("PATCH", path_of("collections", collection, "images", id), json={"metadata": metadata})
    return result_of(request, ImageRecord)


def delete_images(
    collection: str,
    *,
    filter: Mapping[str, Any] | None = None,
    lacking: bool = False,
    preview: bool = False,
) -> Steps[Deletion]:
    """Delete the images that match a filter, or with `preview` return how many would be deleted.

    `lacking` restricts this to images without a vector of the served version. Give `filter`, `lacking` or
    both.

    >>> client.delete_images("pets", filter={"kind": "cat"}, preview=True).n_images
    1
    >>> client.delete_images("pets", filter={"kind": "cat"}).preview
    False
    """
    asked = {"filter": filter, "lacking": lacking, "preview": preview}
    request = Request("POST", path_of("collections", collection, "deletions"), json=asked)
    return result_of(request, Deletion)


def delete_image(collection: str, id: str) -> Steps[None]:
    """Delete one image. Raises NotFound.

    >>> client.delete_image("pets", "tom")
    """
    yield from exchange(Request("DELETE", path_of("collections", collection, "images", id), idempotent=False))


class ManagingCalls:
    """The calls of this module, as methods of both clients."""

    collections = Call(collections)
    create_collection = Call(create_collection)
    collection = Call(collection)
    change_collection = Call(change_collection)
    drop_collection = Call(drop_collection)
    get_image = Call(get_image)
    original = Call(original)
    thumbnail = Call(thumbnail)
    find_images = Call(find_images)
    patch_image = Call(patch_image)
    delete_image = Call(delete_image)
    delete_images = Call(delete_images)
