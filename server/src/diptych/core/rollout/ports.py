"""Ports of rollouts: a store, the bundles of the model repository, and room on the machine."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from diptych.core.rollout.types import CollectionMove, Rollout, ServedVersions
from diptych.core.types import VersionRef


class SwitchRefused(Exception):
    """Other servers of the database are not ready to switch: to be tried again."""


def of_rollout(id: str) -> str:
    """What servers announce once they are ready to switch by a rollout."""
    return f"rollout {id}"


def waits_for_servers(names: Sequence[str]) -> str:
    """The reason why a rollout goes on waiting."""
    return f"waits for {'; '.join(names)}"


class RolloutStore(Protocol):
    """Remembers what serves and which rollouts there were. Writes are durable when they return."""

    async def served(self) -> ServedVersions | None:
        """The version that served last; None in a new data folder."""
        ...

    async def switch(
        self, served: ServedVersions | None, moves: Mapping[int, CollectionMove], rollout: Rollout
    ) -> None:
        """Set what serves (None keeps it), move collections, by number, and store the rollout that did it,
        in one transaction.

        A collection that gets another identity remembers the one that it had before. Vectors of other
        identities than these two are deleted later, by `VectorRows.forget`. Raises NotFound for a collection,
        SwitchRefused while other servers of the database are not ready, Conflict for a rollout that has
        ended, and changes nothing then.
        """
        ...

    async def configured_model(self) -> str | None:
        """The name that the settings gave at the last start that was given one."""
        ...

    async def set_configured_model(self, name: str) -> None:
        """Remember the name that the settings give."""
        ...

    async def put_rollout(self, rollout: Rollout) -> None:
        """Store a rollout, or replace the one of the same id, unless that has ended."""
        ...

    async def rollouts(self, limit: int) -> list[Rollout]:
        """The newest rollouts, newest first."""
        ...


class Bundles(Protocol):
    """The versions of the model repository, and copies of those that the data folder needs. Blocking."""

    def newest(self, name: str, excluding: Collection[VersionRef] = ()) -> VersionRef | None:
        """The newest other version of the name in the model repository that this machine may serve.

        None if there is none. Reads manifests only; what cannot be read is passed over, see `broken`.
        """
        ...

    def find(self, name: str, version: int) -> VersionRef:
        """The version in the model repository. Raises NotFound, BundleError; ConfigError if this machine
        cannot serve it.
        """
        ...

    def broken(self, name: str) -> dict[str, str]:
        """Entries of a model's folder that no server can serve, such as a version that is half copied.

        By the name of its folder, which is the number of a version or something else, with the reason.
        """
        ...

    def precisions(self, ref: VersionRef) -> Sequence[str]:
        """The precisions of a version, the most exact one first. Raises NotFound, BundleError."""
        ...

    def folder(self, ref: VersionRef) -> Path:
        """The folder of a version: in the model repository if it is there, else the kept copy.

        Raises NotFound.
        """
        ...

    def keep(self, refs: Sequence[VersionRef]) -> None:
        """Keep copies of exactly these versions in the data folder.

        Raises StoreError; BundleError for one that is nowhere, after the others were kept.
        """
        ...

    def kept_bytes(self, ref: VersionRef) -> int:
        """The size of the copy of a version; 0 if there is none."""
        ...


class FreeSpace(Protocol):
    """The free disk and memory of this machine. Blocking."""

    def require(self, *, disk_bytes: int, memory_bytes: int) -> None:
        """Raise StoreFull or Conflict naming what is needed and what is free, unless there is room."""
        ...
