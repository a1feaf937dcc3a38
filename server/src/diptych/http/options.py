"""What the HTTP room is told by whoever starts it, as plain values. Knows no setting by its variable."""

from dataclasses import dataclass, field

from diptych.core.limits import Limits
from diptych.http.parsing.body import BodyLimits


@dataclass(frozen=True)
class HttpOptions:
    """`host` is the address the server is bound to; `allowed_hosts` are further names it is called by."""

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    api_key: str | None = None
    default_collection: str = "default"
    limits: Limits = field(default_factory=Limits)

    @property
    def body(self) -> BodyLimits:
        """The part that bounds every body."""
        return BodyLimits(self.limits.max_body_bytes, self.limits.body_timeout_s)

    @property
    def long_body(self) -> BodyLimits:
        """The part that bounds the bodies of jobs, which go to the disk as they come."""
        return BodyLimits(self.limits.max_job_bytes, self.limits.long_body_timeout_s)
