"""Content types: which body came, which answer is wanted. Knows nothing of what is in them."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
OCTETS = "application/octet-stream"
ANY_IMAGE = "image/*"


def media_type(request: Request) -> str:
    """The body's type in lower case without parameters; empty when it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(request: Request, accepted: Sequence[str]) -> HTTPException:
    """A 415 that says what came and what may come."""
    came = media_type(request) or "no content type"
    return HTTPException(415, f"cannot read {came[:100]}, send {' or '.join(accepted)}")


def wants_octets(request: Request) -> bool:
    """Whether the caller asked for raw bytes by name; `*/*` gets JSON."""
    offers = (
        offer.partition(";")[0].strip().lower() for offer in request.headers.get("accept", "").split(",")
    )
    return OCTETS in offers
