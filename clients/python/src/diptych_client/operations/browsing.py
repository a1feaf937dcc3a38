"""Calls that show what is in a collection, without a query."""

from __future__ import annotations

from typing import Literal

from diptych_client.binding import Call
from diptych_client.results.common import Json
from diptych_client.results.images import DuplicatePage, ImagePage
from diptych_client.results.metadata import Folders, MetadataFields, Months
from diptych_client.steps import Request, Steps, json_bytes, path_of, result_of


def list_images(
    collection: str,
    *,
    after: str | None = None,
    limit: int = 100,
    filter: Json | None = None,
    order_by: str | None = None,
    direction: Literal["asc", "desc"] | None = None,
) -> Steps[ImagePage]:
    """List at most `limit` images in the order of their ids, beginning after the id `after`.

    With `filter`, a condition on metadata as in `search`, only images that pass it.

    With `order_by`, a field of the metadata, in the order of its values, or with the direction "desc" the
    largest first; images without the field come last. `after` is then the `next` of the page before.

    >>> page = client.list_images("pets", limit=1)
    >>> [image.id for image in page.images], page.next
    (['rex'], 'rex')
    >>> [image.id for image in client.list_images("pets", after=page.next).images]
    ['tom']
    >>> by_kind = client.list_images("pets", order_by="kind", direction="desc")
    >>> [image.metadata["kind"] for image in by_kind.images]
    ['dog', 'cat']
    """
    optional = {"after": after, "order_by": order_by, "direction": direction}
    params = {"limit": str(limit)} | {name: value for name, value in optional.items() if value is not None}
    params |= _filter_param(filter)
    return result_of(Request("GET", path_of("collections", collection, "images"), params), ImagePage)


def fields(
    collection: str, *, filter: Json | None = None, limit: int = 20, nested: bool = False
) -> Steps[MetadataFields]:
    """Describe the fields of the metadata of a collection, each with at most `limit` values.

    With `filter`, a condition on metadata as in `search`, only of images that pass it. With `nested` also the
    fields inside of objects, by their paths, such as `camera.make`.

    >>> [(field.name, field.n_images) for field in client.fields("pets").fields]
    [('kind', 2)]
    """
    params = {"limit": str(limit)} | ({"nested": "true"} if nested else {}) | _filter_param(filter)
    return result_of(Request("GET", path_of("collections", collection, "fields"), params), MetadataFields)


def months(collection: str, field: str, *, filter: Json | None = None) -> Steps[Months]:
    """Count the images by the month of the date that a metadata field has.

    With `filter`, a condition on metadata as in `search`, only images that pass it.

    >>> client.months("pets", "exif.taken_at").n_images
    2
    """
    params = {"field": field} | _filter_param(filter)
    return result_of(Request("GET", path_of("collections", collection, "months"), params), Months)


def folders(collection: str, under: str = "", *, filter: Json | None = None) -> Steps[Folders]:
    """Count the images by the folders directly within the folder `under`, or by the topmost ones.

    With `filter`, a condition on metadata as in `search`, only images that pass it.

    >>> client.folders("pets").folders
    ()
    """
    params = {"under": under} | _filter_param(filter)
    return result_of(Request("GET", path_of("collections", collection, "folders"), params), Folders)


def duplicates(
    collection: str, *, kind: Literal["bytes", "picture"] = "bytes", after: str | None = None, limit: int = 20
) -> Steps[DuplicatePage]:
    """Find images with the same bytes, or also of the same picture in other files, in at most `limit` groups.

    Groups come by the ids of their first images, beginning after the id `after`.

    >>> client.duplicates("pets", kind="picture").n_groups
    0
    """
    params = {"kind": kind, "limit": str(limit)} | ({} if after is None else {"after": after})
    path = path_of("collections", collection, "duplicates")
    return result_of(Request("GET", path, params), DuplicatePage)


def _filter_param(filter: Json | None) -> dict[str, str]:
    return {} if filter is None else {"filter": json_bytes("filter", filter).decode("ascii")}


class BrowsingCalls:
    """The calls of this module, as methods of both clients."""

    list_images = Call(list_images)
    fields = Call(fields)
    months = Call(months)
    folders = Call(folders)
    duplicates = Call(duplicates)
