"""Media types: that of a request body, and that of the response that the client accepts."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
OCTETS = "application/octet-stream"
TAR = "application/x-tar"
ANY_IMAGE = "image/*"


def media_type(request: Request) -> str:
    """The media type of the body, in lower case and without parameters; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(request: Request, accepted: Sequence[str]) -> HTTPException:
    """A 415 that names the media type received and those accepted."""
    received = media_type(request) or "no content type"
    return HTTPException(415, f"cannot read {received[:100]}, send {' or '.join(accepted)}")


def wants_octets(request: Request) -> bool:
    """Whether `Accept` names application/octet-stream; `*/*` gets JSON."""
    offers = (
        offer.partition(";")[0].strip().lower() for offer in request.headers.get("accept", "").split(",")
    )
    return OCTETS in offers
