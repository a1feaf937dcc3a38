"""The public methods of rollouts, which routes call."""

import builtins
from collections.abc import Mapping

from diptych.core.rollout.types import CollectionProgress, Policy, Progress, Rollout, RolloutStatus


class Rollouts:
    """Moves the server and its collections between versions, one rollout at a time."""

    @property
    def policy(self) -> Policy:
        """What happens when a new version appears in the model repository."""
        raise NotImplementedError

    async def open(self) -> None:
        """Resume the rollout that had not ended, and start to watch the model repository."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop; a rollout that is under way is resumed by the next start."""
        raise NotImplementedError

    async def activate(self, name: str, version: int | None = None, *, now: bool = False) -> Rollout:
        """Start a rollout of the server to a version (None: the newest), and return it.

        A rollout of the server that is under way is cancelled. With `now`, a version that was active before
        is switched to at once, even if some images have no vector of it yet. A version that is active already
        gives a rollout in the state "active". Raises NotFound, BundleError, ConfigError, and Conflict for
        `now` with a version that is not kept.
        """
        raise NotImplementedError

    async def move_collection(
        self, collection: str, *, model: str | None = None, precision: str | None = None
    ) -> Rollout | None:
        """Start a rollout of one collection to another model (its active or newest version) or precision.

        None if there is nothing to do. Raises NotFound, InvalidValue for a precision that the version lacks,
        Conflict if the collection has rows that keep no image.
        """
        raise NotImplementedError

    async def cancel(self, id: str) -> Rollout:
        """End a rollout; what served before serves on. Raises NotFound, and Conflict once it has ended."""
        raise NotImplementedError

    async def list(self, limit: int = 100) -> builtins.list[Rollout]:
        """The newest rollouts, newest first."""
        raise NotImplementedError

    async def get(self, id: str) -> Rollout:
        """One rollout. Raises NotFound."""
        raise NotImplementedError

    def progress(self, id: str) -> Progress | None:
        """How far the rollout has come; None unless it is under way."""
        raise NotImplementedError

    def of_collections(self) -> Mapping[str, CollectionProgress]:
        """The collections that the rollout under way moves, by their present names."""
        raise NotImplementedError

    async def status(self) -> RolloutStatus:
        """What serves, what served before, and what is under way."""
        raise NotImplementedError
