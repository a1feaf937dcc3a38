"""The options of the HTTP application, as plain values. Settings are read elsewhere."""

from dataclasses import dataclass, field
from typing import Literal

from diptych.core.limits import Limits

PathAccess = Literal["public", "key", "off"]  # for everyone, for callers with a key, for nobody


@dataclass(frozen=True)
class BodyLimits:
    """The size limit of a body, and how fast it must arrive.

    It must be complete after `timeout_s`, and until then never be more than `max_lag_s` seconds behind a rate
    of `min_bytes_per_s`.
    """

    max_bytes: int
    timeout_s: float
    min_bytes_per_s: float = 1000.0
    max_lag_s: float = 10.0

    def deadline_s(self, n_bytes: int) -> float:
        """Seconds after which more than the first `n_bytes` must have arrived."""
        return min(self.timeout_s, self.max_lag_s + n_bytes / self.min_bytes_per_s)


@dataclass(frozen=True)
class HttpOptions:
    """`host` is the address that the server listens on; `allowed_hosts` are further names of the server.

    `cors_origins`: the origins of web pages that may call the server. `read_only`: refuse every change.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    metrics_access: PathAccess = "key"
    docs_access: PathAccess = "public"
    read_only: bool = False
    default_collection: str = "default"
    limits: Limits = field(default_factory=Limits)

    @property
    def body(self) -> BodyLimits:
        """The limits of a body that is read into memory."""
        return BodyLimits(self.limits.max_body_bytes, self.limits.body_timeout_s)

    @property
    def job_body(self) -> BodyLimits:
        """The limits of a body that becomes a job: it is written to disk while it arrives."""
        return BodyLimits(self.limits.max_job_bytes, self.limits.long_body_timeout_s)

    @property
    def push_body(self) -> BodyLimits:
        """The limits of a pushed model version: it is written to disk while it arrives."""
        return BodyLimits(self.limits.max_bundle_bytes, self.limits.long_body_timeout_s)
