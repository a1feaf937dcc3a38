"""What the HTTP room is told by whoever starts it, as plain values. Knows no setting by its variable."""

from dataclasses import dataclass, field

from diptych.core.limits import Limits
from diptych.http.body import BodyLimits


@dataclass(frozen=True)
class HttpOptions:
    """`host` is the address the server is bound to; `allowed_hosts` are further names it is called by.

    `request_timeout_s` is for a whole request, until its answer begins. `max_inflight_body_bytes` bounds
    the bodies of all requests together; one body alone must fit.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    api_key: str | None = None
    default_collection: str = "default"
    body_timeout_s: float = 60.0
    long_body_timeout_s: float = 3600.0
    request_timeout_s: float = 300.0
    max_inflight_body_bytes: int = 500_000_000
    limits: Limits = field(default_factory=Limits)

    @property
    def body(self) -> BodyLimits:
        """The part that bounds every body."""
        return BodyLimits(self.limits.max_body_bytes, self.body_timeout_s)

    @property
    def long_body(self) -> BodyLimits:
        """The part that bounds the bodies of jobs, which go to the disk as they come."""
        return BodyLimits(self.limits.max_job_bytes, self.long_body_timeout_s)
