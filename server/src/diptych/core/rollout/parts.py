"""The dependencies of rollouts."""

from dataclasses import dataclass

from diptych.core.collections.service import Collections
from diptych.core.collections.stored.ports import VectorRows
from diptych.core.rollout.compare import Compare
from diptych.core.rollout.ports import Bundles, FreeSpace, RolloutStore
from diptych.core.serving.snapshot import Serving
from diptych.core.serving.versions import Versions


@dataclass(frozen=True)
class RolloutParts:
    """The dependencies of rollouts."""

    versions: Versions
    serving: Serving
    collections: Collections
    bundles: Bundles
    store: RolloutStore
    vectors: VectorRows
    free_space: FreeSpace
    compare: Compare
