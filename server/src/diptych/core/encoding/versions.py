"""The versions that are loaded, each with its pipeline, shared by their users."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from diptych.bundle.calibration import Calibration
from diptych.core.concurrency.load_or_discard import load_or_discard
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.tuning.precision import Serving
from diptych.core.types import ModelInfo, Target, VersionRef
from diptych.errors import DiptychError, NotReady

log = logging.getLogger(__name__)

# Called with each step of loading that is done: "verified", "proven", "warmed". In any thread.
OnStep = Callable[[Literal["verified", "proven", "warmed"]], object]
# Reads the calibration of a version; None if there is none. Blocking.
ReadCalibration = Callable[[], Calibration | None]


@dataclass(eq=False)
class LoadedVersion:
    """One version of a model, loaded and proven on this machine in one precision."""

    target: Target
    pipeline: EncoderPipeline
    serving: Serving
    read_calibration: ReadCalibration = lambda: None
    calibration: Calibration | None = None  # of the relevance of search hits, as it was read last

    @property
    def ref(self) -> VersionRef:
        """The version, without its precision."""
        return self.target.ref

    @property
    def model(self) -> ModelInfo:
        """The description of the model."""
        return self.pipeline.model


# Loads a version in this very precision. Blocking. Raises BundleError, EncoderFailed, ConfigError, NotFound.
Load = Callable[[Target, OnStep], LoadedVersion]


@dataclass(eq=False)
class _Entry:
    """A version that somebody uses, loaded or being loaded."""

    loading: "asyncio.Task[LoadedVersion]"
    n_users: int = 0


class LoadedVersions:
    """Loads a version for its first user, and closes it when its last user has released it."""

    def __init__(self, load: Load) -> None:
        self._load_version = load
        self._entries: dict[Target, _Entry] = {}
        self._tell: Callable[[Sequence[EncoderPipeline]], None] = lambda pipelines: None
        self._background = TaskSet()
        self._closed = False

    def on_change(self, tell: Callable[[Sequence[EncoderPipeline]], None]) -> None:
        """Call `tell` with all loaded pipelines, now and whenever they change."""
        self._tell = tell
        self.changed()

    def changed(self) -> None:
        """Report the loaded pipelines: another one is loaded or closed, or runs on something else."""
        self._tell(self.pipelines())

    def loaded(self) -> list[LoadedVersion]:
        """All loaded versions, in the order in which they were asked for."""
        loading = [entry.loading for entry in self._entries.values()]
        return [one.result() for one in loading if _is_loaded(one)]

    def pipelines(self) -> list[EncoderPipeline]:
        """The pipelines of all loaded versions."""
        return [version.pipeline for version in self.loaded()]

    def busy_s(self) -> float:
        """The seconds in which encoders were in use so far."""
        return sum(pipeline.embedder.busy_s for pipeline in self.pipelines())

    def adopt(self, version: LoadedVersion) -> LoadedVersion:
        """Take over a version that was loaded before there was an event loop; the caller is its first user.

        Called on the event loop.
        """

        async def loaded() -> LoadedVersion:
            return version

        task = asyncio.get_running_loop().create_task(loaded())
        self._entries[version.target] = _Entry(task, 1)
        task.add_done_callback(lambda _: self._begin(version))
        return version

    async def acquire(self, target: Target, on_step: OnStep = lambda step: None) -> LoadedVersion:
        """Return the version for one more user, until it is released; load it off the loop if need be.

        Raises BundleError, EncoderFailed, ConfigError, NotFound, and NotReady when the server stops.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        if target not in self._entries:
            self._entries[target] = _Entry(asyncio.create_task(self._load(target, on_step)))
        entry = self._entries[target]
        entry.n_users += 1
        try:
            return await asyncio.shield(entry.loading)
        except BaseException:
            self._release_entry(target, entry)
            raise

    def release(self, version: LoadedVersion) -> None:
        """Count one user less."""
        entry = self._entries.get(version.target)
        if entry is not None and _is_loaded(entry.loading) and entry.loading.result() is version:
            self._release_entry(version.target, entry)

    async def read_calibrations(self) -> None:
        """Read the calibrations of all loaded versions, which may have been made or replaced since."""
        for version in self.loaded():
            version.calibration = await asyncio.to_thread(version.read_calibration)

    @contextmanager
    def hold(self, version: LoadedVersion) -> Iterator[None]:
        """Keep the version loaded inside the block."""
        entry = self._entries.get(version.target)
        if entry is not None:
            entry.n_users += 1
        try:
            yield
        finally:
            if entry is not None:
                self._release_entry(version.target, entry)

    async def close(self) -> None:
        """Fail all waiting items with NotReady, and wait for the batches that run."""
        self._closed = True
        await self._background.close()
        for entry in self._entries.values():
            entry.loading.cancel()  # has no effect on one that is loaded
        await asyncio.gather(*(version.pipeline.embedder.close() for version in self.loaded()))

    async def _load(self, target: Target, on_step: OnStep) -> LoadedVersion:
        version = await load_or_discard(lambda: self._load_version(target, on_step), _close_encoder)
        log.info("%s is loaded", target)
        asyncio.get_running_loop().call_soon(self._begin, version)  # runs once this task has its result
        return version

    def _begin(self, version: LoadedVersion) -> None:
        """Report the pipeline of a version from now on."""
        if not self._closed:
            self.changed()

    def _release_entry(self, target: Target, entry: _Entry) -> None:
        entry.n_users -= 1
        if entry.n_users or self._closed:
            return
        if self._entries.get(target) is entry:
            del self._entries[target]
        self._background.start(self._close(target, entry), f"closing {target}")

    async def _close(self, target: Target, entry: _Entry) -> None:
        """Close a version without users; if it is still being loaded, once that has ended."""
        try:
            version = await entry.loading
        except DiptychError:
            return  # whoever asked has got the error
        self.changed()
        await version.pipeline.embedder.close()
        await asyncio.to_thread(_close_encoder, version)
        log.info("%s is no longer loaded", target)


def _is_loaded(loading: "asyncio.Task[LoadedVersion]") -> bool:
    return loading.done() and not loading.cancelled() and loading.exception() is None


def _close_encoder(version: LoadedVersion) -> None:
    version.pipeline.encoder.close()
