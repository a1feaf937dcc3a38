"""The values of rollouts."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from diptych.core.types import VersionRef

# In this order. "waiting": another rollout is under way. "discovered": its files are being verified.
# "verified": it is being loaded. "proven": it reproduces its golden outputs here. "warmed": it has run its
# largest batches. "embedding": images of collections are being embedded. "compared": its results were
# compared with those of the version that serves. "active": it serves. The last three are final.
RolloutState = Literal[
    "waiting", "discovered", "verified", "proven", "warmed", "embedding", "compared",
    "active", "failed", "cancelled",
]  # fmt: skip
Policy = Literal["latest", "manual", "pinned"]
FINAL_STATES = ("active", "failed", "cancelled")


@dataclass(frozen=True)
class Rollout:
    """One move of the server, or of one collection, to a version.

    `collection` is None for a move of the server: of requests, new collections, and all collections that
    follow it. `precision` is the new precision setting of the collection, None to keep it. `now`: switch
    before all images are embedded (only to a version that was active before). `stays` maps collections that
    cannot move to the reason. `comparison` is a JSON object, see `compare`.
    """

    id: str
    target: VersionRef
    state: RolloutState
    created_at: str  # ISO 8601, UTC
    collection: str | None = None
    precision: str | None = None
    now: bool = False
    reason: str = ""  # why it failed, or was cancelled
    finished_at: str | None = None
    stays: Mapping[str, str] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None

    @classmethod
    def new(cls, target: VersionRef) -> "Rollout":
        """A rollout of the server, which waits for its turn."""
        return cls(id=secrets.token_hex(8), target=target, state="waiting", created_at=_now())

    def ended(self, state: RolloutState, reason: str = "") -> "Rollout":
        """The rollout in a final state."""
        return replace(self, state=state, reason=reason, finished_at=_now())

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class Progress:
    """How far a rollout has come with the images; `eta_s` is None until the rate is known."""

    n_images: int
    n_embedded: int
    images_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class CollectionProgress:
    """How far one collection has come in a rollout. `precision` is the one of its new vectors."""

    rollout: Rollout
    precision: str
    n_images: int
    n_embedded: int


@dataclass(frozen=True)
class ServedVersions:
    """The version that serves, and the one that served before, which a rollback returns to."""

    active: VersionRef
    previous: VersionRef | None = None


@dataclass(frozen=True)
class CollectionMove:
    """What a switch changes of one collection. `ref` and `identity` are those of its vectors from then on.

    `may_lag`: its images need not all have one.
    """

    ref: VersionRef
    precision: str
    identity: str
    may_lag: bool = False


@dataclass(frozen=True)
class PreviousVersion:
    """The version that served before. A rollback to it is immediate while `n_lagging` is 0.

    `n_lagging`: images that have no vector of it yet, such as those that were added since the switch.
    `memory_bytes`: of its indexes; `weight_bytes`: about what its loaded weights take in memory. On the disk,
    `vector_bytes` of its vectors in the database, and `bundle_bytes` of the copy of its files.
    """

    ref: VersionRef
    n_lagging: int
    memory_bytes: int
    weight_bytes: int
    vector_bytes: int
    bundle_bytes: int


@dataclass(frozen=True)
class RolloutStatus:
    """What serves, what served before, and the rollout that is under way."""

    active: VersionRef
    policy: Policy
    previous: PreviousVersion | None = None
    running: Rollout | None = None
    progress: Progress | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat()
