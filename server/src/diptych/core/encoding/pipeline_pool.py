"""The precisions that are loaded, shared by those who use them; knows nothing of how one is loaded."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from diptych.core.concurrency.load_or_discard import loaded_in_thread
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import SERVER
from diptych.errors import DiptychError, InvalidValue, NotReady

log = logging.getLogger(__name__)

# A precision, and whether the server is starting -> it, at work. Blocking. Raises DiptychError.
Open = Callable[[str, bool], EncoderPipeline]


@dataclass(eq=False)
class _Further:
    """One that is there for collections that ask for it, or is being loaded for them."""

    loading: "asyncio.Task[EncoderPipeline]"
    n_users: int = 0


class PipelinePool:
    """Those of requests and of collections in general stay; further ones come and go with their users.

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
        self._staying = {engine.model.precision: engine for engine in (collections, requests)}
        self._version = f"{collections.model.name}/{collections.model.version}"
        self._precisions = tuple(precisions)
        self._open = open
        self._tell: Callable[[Sequence[EncoderPipeline]], None] = lambda engines: None
        self._further: dict[str, _Further] = {}
        self._closing = TaskSet()
        self._closed = False

    @property
    def requests(self) -> EncoderPipeline:
        """That of /embed and /classify."""
        return self._requests

    @property
    def common(self) -> EncoderPipeline:
        """That of collections without a precision of their own."""
        return self._collections

    def on_change(self, tell: Callable[[Sequence[EncoderPipeline]], None]) -> None:
        """`tell` hears what is loaded, now and whenever that changes."""
        self._tell = tell
        self._changed()

    def changed(self) -> None:
        """What runs one of them is another now."""
        self._changed()

    def loaded(self) -> list[EncoderPipeline]:
        """All that are at work now; the one of requests and that of collections are the first."""
        further = [one.loading for one in self._further.values()]
        return [*self._staying.values(), *(one.result() for one in further if _is_loaded(one))]

    def require_known(self, precision: str) -> None:
        """Raises InvalidValue naming those there are, unless the served version has it."""
        if precision not in {SERVER, *self._precisions}:
            known = ", ".join(self._precisions)
            raise InvalidValue(
                f"{self._version} has no precision {precision[:40]!r}, only {known}; "
                f"{SERVER!r} is that of the server",
                "precision",
            )

    async def take(self, precision: str, *, at_start: bool = False) -> EncoderPipeline:
        """For one more user, until it lets go. It is loaded if need be, off the event loop.

        Raises InvalidValue when the served version lacks it, or when it cannot be served on this machine.
        """
        self.require_known(precision)
        if precision == SERVER:
            return self._collections
        if precision in self._staying:
            return self._staying[precision]
        if self._closed:
            raise NotReady("the server is stopping")
        if precision not in self._further:
            self._further[precision] = _Further(asyncio.create_task(self._load(precision, at_start)))
        further = self._further[precision]
        further.n_users += 1
        try:
            return await asyncio.shield(further.loading)
        except BaseException as error:
            self._leave(precision, further)
            if isinstance(error, NotReady) or not isinstance(error, DiptychError):
                raise
            raise InvalidValue(
                f"precision {precision} of {self._version} cannot be served here: {error}", "precision"
            ) from error

    def let_go(self, engine: EncoderPipeline) -> None:
        """One user less."""
        further = self._further.get(engine.model.precision)
        if further is not None and _is_loaded(further.loading) and further.loading.result() is engine:
            self._leave(engine.model.precision, further)

    @contextmanager
    def hold(self, engine: EncoderPipeline) -> Iterator[None]:
        """It stays at work inside the block, though its collection may be dropped or take another."""
        further = self._further.get(engine.model.precision)
        if further is None:
            yield
            return
        further.n_users += 1
        try:
            yield
        finally:
            self._leave(engine.model.precision, further)

    async def close(self) -> None:
        """Fail all that waits with NotReady. Batches that run are waited for."""
        self._closed = True
        await self._closing.close()
        for further in self._further.values():
            further.loading.cancel()  # one that is loaded is not touched by it
        await asyncio.gather(*(engine.embedder.close() for engine in self.loaded()))

    async def _load(self, precision: str, at_start: bool) -> EncoderPipeline:
        engine = await loaded_in_thread(
            lambda: self._open(precision, at_start), lambda unwanted: unwanted.runner.close()
        )
        log.info("%s in %s is at work for collections that ask for it", self._version, precision)
        asyncio.get_running_loop().call_soon(self._changed)  # once this task has its result
        return engine

    def _leave(self, precision: str, further: _Further) -> None:
        further.n_users -= 1
        if further.n_users or self._closed:
            return
        if self._further.get(precision) is further:
            del self._further[precision]
        self._closing.start(self._close(precision, further), f"closing {precision}")

    async def _close(self, precision: str, further: _Further) -> None:
        """Nobody uses it: what was still being loaded is let go of when it is."""
        try:
            engine = await further.loading
        except DiptychError:
            return  # whoever asked was told
        self._changed()
        await engine.embedder.close()
        await asyncio.to_thread(engine.runner.close)
        log.info("%s in %s is no longer loaded, no collection asks for it", self._version, precision)

    def _changed(self) -> None:
        self._tell(self.loaded())


def _is_loaded(loading: "asyncio.Task[EncoderPipeline]") -> bool:
    return loading.done() and not loading.cancelled() and loading.exception() is None
