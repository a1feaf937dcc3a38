"""Rollouts, and the comparison of two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diptych_client.results.common import VersionRef
from diptych_client.results.models import BrokenFolder


@dataclass(frozen=True)
class RolloutProgress:
    """How many images of a rollout are embedded. Rate and seconds left are None until they are known."""

    n_images: int
    n_embedded: int
    images_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class ComparedVectors:
    """The version and precision of one side of a comparison.

    The server reproduces the golden outputs of the version with at least the cosine `golden_cosine_min`.
    """

    model: str
    version: int
    precision: str
    golden_cosine_min: float

    def __str__(self) -> str:
        return f"{self.model}/{self.version} ({self.precision})"


@dataclass(frozen=True)
class ChangedQuery:
    """A query, by a `text` or by the image `id`, and the ids of its first ten images on both sides.

    `overlap`: the share of the ten that both sides find.
    """

    overlap: float
    old: tuple[str, ...]
    new: tuple[str, ...]
    text: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class ComparedLabels:
    """On how many of the `n` reviewed images of a label set both versions agree with people.

    `n_gained`: the new version alone agrees; `n_lost`: the old one alone. `agrees_less`: more are lost than
    chance explains.
    """

    label_set: str
    n: int
    n_agree_old: int
    n_agree_new: int
    n_gained: int
    n_lost: int
    agrees_less: bool


@dataclass(frozen=True)
class CollectionComparison:
    """What changes in one collection. `old` is None if nothing served yet.

    `coverage`: of the images that the old vectors find, the share that has new ones.
    `overlap_at_10`: the mean over `n_queries` queries, by sampled images and by their names. `changed`: those
    that change most. `labels`: of label sets with reviewed images.
    """

    collection: str
    n_images: int
    coverage: float
    new: ComparedVectors
    old: ComparedVectors | None = None
    n_queries: int = 0
    overlap_at_10: float | None = None
    changed: tuple[ChangedQuery, ...] = ()
    labels: tuple[ComparedLabels, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two versions in each collection that has vectors of both. `unmet`: why the switch is refused."""

    collections: tuple[CollectionComparison, ...]
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """One move of the server, with all collections that can move, to the version `target`.

    `state` is "waiting", "discovered", "verified", "proven", "warmed", "embedding", "compared", in this
    order, and finally "active", "failed" or "cancelled"; then `reason` says why it failed or was cancelled.
    `stays`: collections that cannot move, and why. `comparison`: the new version compared with the former
    one; in a list without the queries that change most.
    """

    id: str
    target: VersionRef
    state: str
    created_at: str
    progress: RolloutProgress | None = None
    stays: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    comparison: Comparison | None = None
    finished_at: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the rollout has ended, in whatever state."""
        return self.state in {"active", "failed", "cancelled"}


@dataclass(frozen=True)
class PreviousVersion(VersionRef):
    """The version that served before. Activating it is immediate while `n_lagging` is 0.

    `n_lagging`: images that have no vector of it yet. `memory_bytes` and `vector_bytes`:
    what its indexes take in memory and its vectors in the database. `weight_bytes` and `bundle_bytes`: about
    what its weights take in memory, and the copy of its files in the data folder.
    """

    n_lagging: int
    memory_bytes: int
    vector_bytes: int
    weight_bytes: int = 0
    bundle_bytes: int = 0


@dataclass(frozen=True)
class RolloutStatus:
    """What the server serves, what it served before, and the rollout that is under way.

    `policy`: "latest", it takes new versions of what it serves by itself; "manual", `activate` alone moves
    it; "pinned", its settings name the version. None from an older server, which moves by a restart only.
    `broken`: entries of the repository that are not models.
    """

    active: VersionRef | None
    policy: str | None
    previous: PreviousVersion | None = None
    rollout: Rollout | None = None
    broken: tuple[BrokenFolder, ...] = ()
