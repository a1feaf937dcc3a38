"""The precisions that are loaded, shared by those who use them; knows nothing of how one is loaded."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from diptych.core.concurrency.load_or_discard import load_or_discard
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import SERVER
from diptych.errors import DiptychError, InvalidValue, NotReady

log = logging.getLogger(__name__)

# A precision, and whether the server is starting -> it, at work. Blocking. Raises DiptychError.
Open = Callable[[str, bool], EncoderPipeline]


@dataclass(eq=False)
class _OnDemand:
    """One that is there for collections that ask for it, or is being loaded for them."""

    loading: "asyncio.Task[EncoderPipeline]"
    n_users: int = 0


class PipelinePool:
    """Those of requests and of collections in general stay; entry ones come and go with their users.

    The first collection that asks for a precision has it loaded, and when the last one lets go of it, and no
    request is at work with it, it is closed.
    """

    def __init__(
        self,
        requests: EncoderPipeline,
        collections: EncoderPipeline,
        *,
        precisions: Sequence[str],
        open: Open,
    ) -> None:
        """`precisions` are those that the served version has."""
        self._requests = requests
        self._collections = collections
        self._permanent = {pipeline.model.precision: pipeline for pipeline in (collections, requests)}
        self._version = f"{collections.model.name}/{collections.model.version}"
        self._precisions = tuple(precisions)
        self._open = open
        self._on_change: Callable[[Sequence[EncoderPipeline]], None] = lambda pipelines: None
        self._on_demand: dict[str, _OnDemand] = {}
        self._closing = TaskSet()
        self._closed = False

    @property
    def for_requests(self) -> EncoderPipeline:
        """That of /embed and /classify."""
        return self._requests

    @property
    def for_collections(self) -> EncoderPipeline:
        """That of collections without a precision of their own."""
        return self._collections

    def on_change(self, tell: Callable[[Sequence[EncoderPipeline]], None]) -> None:
        """`tell` hears what is loaded, now and whenever that changes."""
        self._on_change = tell
        self._changed()

    def changed(self) -> None:
        """What runs one of them is another now."""
        self._changed()

    def loaded(self) -> list[EncoderPipeline]:
        """All that are at work now; the one of requests and that of collections are the first."""
        entry = [one.loading for one in self._on_demand.values()]
        return [*self._permanent.values(), *(one.result() for one in entry if _is_loaded(one))]

    def require_known(self, precision: str) -> None:
        """Raises InvalidValue naming those there are, unless the served version has it."""
        if precision not in {SERVER, *self._precisions}:
            known = ", ".join(self._precisions)
            raise InvalidValue(
                f"{self._version} has no precision {precision[:40]!r}, only {known}; "
                f"{SERVER!r} is that of the server",
                "precision",
            )

    async def acquire(self, precision: str, *, at_start: bool = False) -> EncoderPipeline:
        """For one more user, until it lets go. It is loaded if need be, off the event loop.

        Raises InvalidValue when the served version lacks it, or when it cannot be served on this machine.
        """
        self.require_known(precision)
        if precision == SERVER:
            return self._collections
        if precision in self._permanent:
            return self._permanent[precision]
        if self._closed:
            raise NotReady("the server is stopping")
        if precision not in self._on_demand:
            self._on_demand[precision] = _OnDemand(asyncio.create_task(self._load(precision, at_start)))
        entry = self._on_demand[precision]
        entry.n_users += 1
        try:
            return await asyncio.shield(entry.loading)
        except BaseException as error:
            self._release_entry(precision, entry)
            if isinstance(error, NotReady) or not isinstance(error, DiptychError):
                raise
            raise InvalidValue(
                f"precision {precision} of {self._version} cannot be served here: {error}", "precision"
            ) from error

    def release(self, pipeline: EncoderPipeline) -> None:
        """One user less."""
        entry = self._on_demand.get(pipeline.model.precision)
        if entry is not None and _is_loaded(entry.loading) and entry.loading.result() is pipeline:
            self._release_entry(pipeline.model.precision, entry)

    @contextmanager
    def hold(self, pipeline: EncoderPipeline) -> Iterator[None]:
        """It stays at work inside the block, though its collection may be dropped or take another."""
        entry = self._on_demand.get(pipeline.model.precision)
        if entry is None:
            yield
            return
        entry.n_users += 1
        try:
            yield
        finally:
            self._release_entry(pipeline.model.precision, entry)

    async def close(self) -> None:
        """Fail all that waits with NotReady. Batches that run are waited for."""
        self._closed = True
        await self._closing.close()
        for entry in self._on_demand.values():
            entry.loading.cancel()  # one that is loaded is not touched by it
        await asyncio.gather(*(pipeline.embedder.close() for pipeline in self.loaded()))

    async def _load(self, precision: str, at_start: bool) -> EncoderPipeline:
        pipeline = await load_or_discard(
            lambda: self._open(precision, at_start), lambda unwanted: unwanted.encoder.close()
        )
        log.info("%s in %s is at work for collections that ask for it", self._version, precision)
        asyncio.get_running_loop().call_soon(self._changed)  # once this task has its result
        return pipeline

    def _release_entry(self, precision: str, entry: _OnDemand) -> None:
        entry.n_users -= 1
        if entry.n_users or self._closed:
            return
        if self._on_demand.get(precision) is entry:
            del self._on_demand[precision]
        self._closing.start(self._close(precision, entry), f"closing {precision}")

    async def _close(self, precision: str, entry: _OnDemand) -> None:
        """Nobody uses it: what was still being loaded is let go of when it is."""
        try:
            pipeline = await entry.loading
        except DiptychError:
            return  # whoever asked was told
        self._changed()
        await pipeline.embedder.close()
        await asyncio.to_thread(pipeline.encoder.close)
        log.info("%s in %s is no longer loaded, no collection asks for it", self._version, precision)

    def _changed(self) -> None:
        self._on_change(self.loaded())


def _is_loaded(loading: "asyncio.Task[EncoderPipeline]") -> bool:
    return loading.done() and not loading.cancelled() and loading.exception() is None
