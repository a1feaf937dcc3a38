"""What the HTTP room is told by whoever starts it, as plain values. Knows no setting by its variable."""

from dataclasses import dataclass, field

from diptych.core.limits import Limits


@dataclass(frozen=True)
class BodyLimits:
    """How large a body may be and how long it may take to arrive: `timeout_s` at most.

    Before that, it must not fall behind `min_bytes_per_s` by more than `ahead_s` seconds.
    """

    max_bytes: int
    timeout_s: float
    min_bytes_per_s: float = 1000.0
    ahead_s: float = 10.0

    def seconds_for(self, n_bytes: int) -> float:
        """The time after which more than the first `n_bytes` must have come."""
        return min(self.timeout_s, self.ahead_s + n_bytes / self.min_bytes_per_s)


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
