"""Read the body of an add. Knows nothing of collections."""

from collections.abc import Sequence

from starlette.requests import Request

from diptych.core.limits import Limits
from diptych.core.types import NewImage
from diptych.errors import InvalidValue
from diptych.http.checks import check_count, check_lengths
from diptych.http.content import MULTIPART, media_type, unsupported
from diptych.http.form import Form
from diptych.http.multipart import read_parts
from diptych.http.options import HttpOptions
from diptych.http.requests import AddItem, AddItems
from diptych.http.validation import validated

_FIELDS = ("image", "items")


async def read_add(request: Request, options: HttpOptions) -> Sequence[NewImage]:
    """N `image` parts and the optional `items`. An image over its limit is left to fail alone.

    Raises InputError naming `items[i]`, TooLarge for too many images, HTTPException 415 and 408.
    """
    if media_type(request) != MULTIPART:
        raise unsupported(request, (MULTIPART,))
    max_items = options.limits.max_add_items
    bound = f"at most {max_items} images in one request"
    parts = await read_parts(request, options.body, max_items + len(_FIELDS), bound)
    return _from_form(Form(parts, _FIELDS), options.limits)


def _from_form(form: Form, limits: Limits) -> Sequence[NewImage]:
    payloads = [bytes(part.data) for part in form.parts("image")]
    check_count(payloads, "images", limits.max_add_items)
    items = _items(form, len(payloads), limits)
    return [NewImage(payload, item.id, item.metadata) for payload, item in zip(payloads, items, strict=True)]


def _items(form: Form, n_images: int, limits: Limits) -> Sequence[AddItem]:
    given = form.json("items")
    if given is None:
        return [AddItem()] * n_images
    items = validated(AddItems, check_lengths({"items": given}, {"items": limits.max_add_items})).items
    if len(items) != n_images:
        raise InvalidValue(f"has {len(items)} entries for {n_images} images", "items")
    return items
