"""The values of rollouts."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from diptych.core.types import Target

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
    """One move of the server, with all collections that can move, to a version in a precision.

    `stays` maps collections that cannot move to the reason. `comparison` is a JSON object, see `compare`.
    `despite_labels`: it switches even if the version agrees less with people on their label sets.
    """

    id: str
    target: Target
    state: RolloutState
    created_at: str  # ISO 8601, UTC
    reason: str = ""  # why it failed, or was cancelled; before that, what it waits for
    finished_at: str | None = None
    stays: Mapping[str, str] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    despite_labels: bool = False

    @classmethod
    def new(cls, target: Target, *, despite_labels: bool = False) -> "Rollout":
        """A rollout that waits for its turn."""
        return cls(
            id=secrets.token_hex(8),
            target=target,
            state="waiting",
            created_at=_now(),
            despite_labels=despite_labels,
        )

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
    """How far one collection has come in a rollout."""

    rollout: Rollout
    n_images: int
    n_embedded: int


@dataclass(frozen=True)
class ServedVersions:
    """The version that serves, and the one before, to which a rollback returns.

    `wanted` is the precision of the versions that have it: one that lacks it is served in another.
    """

    active: Target
    previous: Target | None
    wanted: str


@dataclass(frozen=True)
class CollectionMove:
    """The change of one collection at a switch: the source of its vectors from then on."""

    target: Target
    identity: str


@dataclass(frozen=True)
class PreviousVersion:
    """The version that served before. A rollback to it is immediate while `n_lagging` is 0.

    `n_lagging`: images that have no vector of it yet, such as those that were added since the switch.
    `memory_bytes`: of its indexes; `weight_bytes`: about what its loaded weights take in memory. On the disk,
    `vector_bytes` of its vectors in the database, and `bundle_bytes` of the copy of its files.
    """

    target: Target
    n_lagging: int
    memory_bytes: int
    weight_bytes: int
    vector_bytes: int
    bundle_bytes: int


@dataclass(frozen=True)
class RolloutStatus:
    """The version that serves, the one before, and the rollout under way."""

    active: Target
    policy: Policy
    previous: PreviousVersion | None = None
    running: Rollout | None = None
    progress: Progress | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat()
