"""Rules for the names of collections and the ids of images."""

import hashlib
import re

from diptych.errors import InvalidValue, NotFound

IMAGE_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
COLLECTION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CONTENT_ID_DIGITS = 32


def check_id(id: str) -> str:
    """Return `id`, or raise InvalidValue unless it is safe in a path.

    Allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - but not the names . and ..
    """
    if id in {".", ".."} or not IMAGE_ID.fullmatch(id):
        raise InvalidValue(
            f"id {id[:140]!r} must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - and not . or .."
        )
    return id


def check_collection_name(name: str) -> str:
    """Return `name`, or raise InvalidValue unless it is spelled as a model name.

    Allowed are 1 to 64 of a-z 0-9 . _ - beginning with a letter or a digit.
    """
    if not COLLECTION.fullmatch(name):
        raise InvalidValue(
            f"collection name {name[:80]!r} must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit"
        )
    return name


def collection_not_found(name: str) -> NotFound:
    """The error for a name that no collection has, or that the caller may not know of: the two look alike."""
    return NotFound(f"no collection named {name[:80]!r}")


def sha256_of(payload: bytes) -> str:
    """The 64 hex digits of the content's sha256."""
    return hashlib.sha256(payload).hexdigest()


def content_id(sha256: str) -> str:
    """The id of an image that was given none: the first 32 hex digits of its sha256."""
    return sha256[:CONTENT_ID_DIGITS]
