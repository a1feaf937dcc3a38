"""The pipelines that are loaded, shared by their users."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.concurrency.load_or_discard import load_or_discard
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import SERVER
from diptych.errors import DiptychError, InvalidValue, NotReady

log = logging.getLogger(__name__)

# (precision, decode mode, whether the server is starting) -> its pipeline. Blocking. Raises DiptychError.
Open = Callable[[str, DecodeMode, bool], EncoderPipeline]
_Key = tuple[str, DecodeMode]  # precision, decode mode


@dataclass(eq=False)
class _OnDemand:
    """A pipeline that collections have asked for, loaded or being loaded."""

    loading: "asyncio.Task[EncoderPipeline]"
    n_users: int = 0


class PipelinePool:
    """Two permanent pipelines, one for requests and one for collections, which may be the same, and further
    ones on demand.

    A further precision, or decode mode, is loaded for the first collection that asks for it, and closed when
    the last collection has released it and no request works with it.
    """

    def __init__(
        self,
        requests: EncoderPipeline,
        collections: EncoderPipeline,
        *,
        precisions: Sequence[str],
        open: Open,
    ) -> None:
        """`precisions` are the precisions that the served version has."""
        self._requests = requests
        self._collections = collections
        self._permanent = {_key(pipeline): pipeline for pipeline in (collections, requests)}
        self._version = f"{collections.model.name}/{collections.model.version}"
        self._precisions = tuple(precisions)
        self._open = open
        self._on_change: Callable[[Sequence[EncoderPipeline]], None] = lambda pipelines: None
        self._on_demand: dict[_Key, _OnDemand] = {}
        self._refused: dict[_Key, str] = {}  # why the last attempt to load it failed
        self._closing = TaskSet()
        self._closed = False

    @property
    def for_requests(self) -> EncoderPipeline:
        """The pipeline of /embed and /classify."""
        return self._requests

    @property
    def for_collections(self) -> EncoderPipeline:
        """The pipeline of collections without a precision of their own."""
        return self._collections

    def on_change(self, tell: Callable[[Sequence[EncoderPipeline]], None]) -> None:
        """Call `tell` with the loaded pipelines, now and whenever they change."""
        self._on_change = tell
        self._changed()

    def changed(self) -> None:
        """Report that a pipeline runs on something else now."""
        self._changed()

    def loaded(self) -> list[EncoderPipeline]:
        """All loaded pipelines; those of collections and of requests come first."""
        entry = [one.loading for one in self._on_demand.values()]
        return [*self._permanent.values(), *(one.result() for one in entry if _is_loaded(one))]

    def require_known(self, precision: str) -> None:
        """Raise InvalidValue naming the known precisions, unless the served version has this one."""
        if precision not in {SERVER, *self._precisions}:
            known = ", ".join(self._precisions)
            raise InvalidValue(
                f"{self._version} has no precision {precision[:40]!r}, only {known}; "
                f"{SERVER!r} means the server's own",
                "precision",
            )

    def require_not_refused(self, precision: str) -> None:
        """Raise InvalidValue as the last `acquire` did, without loading the precision again."""
        self.require_known(precision)
        if (refused := self._refused.get((precision, self._collections.model.decode))) is not None:
            raise InvalidValue(refused, "precision")

    async def acquire(
        self, precision: str, *, decode: DecodeMode | None = None, at_start: bool = False
    ) -> EncoderPipeline:
        """Return the pipeline for one more user, until it is released; load it if need be, off the event
        loop. `decode` None: the mode of the server.

        Raises InvalidValue when the served version lacks the precision, or when this machine cannot serve it.
        """
        self.require_known(precision)
        if precision == SERVER:
            return self._collections
        key = (precision, decode or self._collections.model.decode)
        if key in self._permanent:
            return self._permanent[key]
        if self._closed:
            raise NotReady("the server is stopping")
        if key not in self._on_demand:
            self._on_demand[key] = _OnDemand(asyncio.create_task(self._load(key, at_start)))
        entry = self._on_demand[key]
        entry.n_users += 1
        try:
            pipeline = await asyncio.shield(entry.loading)
        except BaseException as error:
            self._release_entry(key, entry)
            if isinstance(error, NotReady) or not isinstance(error, DiptychError):
                raise
            self._refused[key] = f"precision {precision} of {self._version} cannot be served here: {error}"
            raise InvalidValue(self._refused[key], "precision") from error
        self._refused.pop(key, None)
        return pipeline

    def release(self, pipeline: EncoderPipeline) -> None:
        """Count one user less."""
        entry = self._on_demand.get(_key(pipeline))
        if entry is not None and _is_loaded(entry.loading) and entry.loading.result() is pipeline:
            self._release_entry(_key(pipeline), entry)

    @contextmanager
    def hold(self, pipeline: EncoderPipeline) -> Iterator[None]:
        """Keep the pipeline loaded inside the block, even if its collection is dropped or changes its
        precision.
        """
        entry = self._on_demand.get(_key(pipeline))
        if entry is None:
            yield
            return
        entry.n_users += 1
        try:
            yield
        finally:
            self._release_entry(_key(pipeline), entry)

    async def close(self) -> None:
        """Fail all waiting items with NotReady, and wait for the batches that run."""
        self._closed = True
        await self._closing.close()
        for entry in self._on_demand.values():
            entry.loading.cancel()  # has no effect on one that is loaded
        await asyncio.gather(*(pipeline.embedder.close() for pipeline in self.loaded()))

    async def _load(self, key: _Key, at_start: bool) -> EncoderPipeline:
        pipeline = await load_or_discard(
            lambda: self._open(*key, at_start), lambda unwanted: unwanted.encoder.close()
        )
        log.info("%s in %s (%s) is loaded for collections that ask for it", self._version, *key)
        asyncio.get_running_loop().call_soon(self._changed)  # runs once this task has its result
        return pipeline

    def _release_entry(self, key: _Key, entry: _OnDemand) -> None:
        entry.n_users -= 1
        if entry.n_users or self._closed:
            return
        if self._on_demand.get(key) is entry:
            del self._on_demand[key]
        self._closing.start(self._close(key, entry), f"closing {key[0]}")

    async def _close(self, key: _Key, entry: _OnDemand) -> None:
        """Close a pipeline without users; if it is still being loaded, once that has ended."""
        try:
            pipeline = await entry.loading
        except DiptychError:
            return  # whoever asked has got the error
        self._changed()
        await pipeline.embedder.close()
        await asyncio.to_thread(pipeline.encoder.close)
        log.info("%s in %s (%s) is no longer loaded, no collection asks for it", self._version, *key)

    def _changed(self) -> None:
        self._on_change(self.loaded())


def _key(pipeline: EncoderPipeline) -> _Key:
    return pipeline.model.precision, pipeline.model.decode


def _is_loaded(loading: "asyncio.Task[EncoderPipeline]") -> bool:
    return loading.done() and not loading.cancelled() and loading.exception() is None
