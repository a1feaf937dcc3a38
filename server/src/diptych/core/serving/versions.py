"""The versions that are loaded, shared by all that use them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from diptych.core.concurrency.load_or_discard import load_or_discard
from diptych.core.concurrency.shared import Shared
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.serving.version import Version
from diptych.core.types import ModelInfo, Target
from diptych.errors import NotReady

log = logging.getLogger(__name__)

# Called with each step of loading that is done: "verified", "proven", "warmed". In any thread.
OnStep = Callable[[Literal["verified", "proven", "warmed"]], object]
# Loads a version in this very precision. Blocking. Raises BundleError, EncoderFailed, ConfigError, NotFound.
Load = Callable[[Target, OnStep], Version]


@dataclass(eq=False)
class _Entry:
    """A version that is loaded, or for whose `loading` `n_waiting` callers wait."""

    loading: "asyncio.Task[None] | None" = None
    n_waiting: int = 0
    version: Shared[Version] | None = None


class Versions:
    """Loads a version for its first user, and closes it when its last user has released it."""

    def __init__(
        self, load: Load, on_change: Callable[[Sequence[ModelInfo]], object] = lambda models: None
    ) -> None:
        """`on_change` is called with the models of all loaded versions whenever they change."""
        self._load_version = load
        self._on_change = on_change
        self._entries: dict[Target, _Entry] = {}
        self._background = TaskSet()
        self._closed = False

    def loaded(self) -> list[Version]:
        """All loaded versions, in the order in which they were asked for. In any thread."""
        entries = list(self._entries.values())  # at once: another thread may be loading or closing one
        return [entry.version.value for entry in entries if entry.version is not None]

    def busy_s(self) -> float:
        """The seconds in which encoders were in use so far."""
        return sum(version.embedder.busy_s for version in self.loaded())

    def adopt(self, version: Version) -> Shared[Version]:
        """Take over a version that was loaded already; the caller is its first user."""
        shared = Shared(version, self._close_version)
        self._entries[version.target] = _Entry(version=shared)
        self._changed()
        return shared

    async def acquire(self, target: Target, on_step: OnStep = lambda step: None) -> Shared[Version]:
        """Return the version, which the caller must release; load it off the loop if need be.

        Raises BundleError, EncoderFailed, ConfigError, NotFound, and NotReady when the server stops.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        entry = self._entries.get(target)
        if entry is None:
            self._entries[target] = entry = _Entry()
            entry.loading = asyncio.create_task(self._load(target, entry, on_step))
        if entry.version is not None:
            return entry.version.retain()
        assert entry.loading is not None, "it is neither loaded nor being loaded"
        entry.n_waiting += 1
        try:
            await asyncio.shield(entry.loading)
        except BaseException:
            if entry.version is None:
                entry.n_waiting -= 1
            else:  # it was loaded for this caller, too, who was cancelled
                entry.version.release()
            raise
        assert entry.version is not None, "loading has ended"
        return entry.version

    async def read_calibrations(self) -> None:
        """Read the calibrations of all loaded versions, which may have been made or replaced since."""
        for version in self.loaded():
            version.calibration = await asyncio.to_thread(version.read_calibration)

    async def close(self) -> None:
        """Fail all waiting items with NotReady, and wait for the batches that run."""
        self._closed = True
        await self._background.close()
        for entry in self._entries.values():
            if entry.loading is not None:
                entry.loading.cancel()  # has no effect on one that is loaded
        await asyncio.gather(*(version.embedder.close() for version in self.loaded()))

    async def _load(self, target: Target, entry: _Entry, on_step: OnStep) -> None:
        try:
            version = await load_or_discard(
                lambda: self._load_version(target, on_step), lambda version: version.encoder.close()
            )
        except BaseException:
            del self._entries[target]
            raise
        log.info("%s is loaded", target)
        if not entry.n_waiting:  # all who wanted it were cancelled
            self._close_version(version)
            return
        entry.version = Shared(version, self._close_version, entry.n_waiting)
        self._changed()

    def _close_version(self, version: Version) -> None:
        if self._closed:
            return
        del self._entries[version.target]
        self._changed()
        self._background.start(_close(version), f"closing {version.target}")

    def _changed(self) -> None:
        if not self._closed:
            self._on_change([version.model for version in self.loaded()])


async def _close(version: Version) -> None:
    await version.embedder.close()
    await asyncio.to_thread(version.encoder.close)
    log.info("%s is no longer loaded", version.target)
