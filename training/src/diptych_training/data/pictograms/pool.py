"""Render drawings in several processes; drawings that fail or crash their process are dropped and counted."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Literal

from diptych_training.data.pictograms.render import Drawing, Pixels, is_blank, is_same_drawing, render

Dropped = Literal["blank", "same drawing", "failed"]
Outcome = Pixels | Dropped
Payloads = tuple[bytes, bytes | None]

CHUNK = 64  # drawings per task: 0.1 to 0.5 s of work


class RenderPool:
    """Processes that render. Close it, or use it in a `with`."""

    def __init__(self, size: int, n_jobs: int, render_one: Callable[[bytes, int], Pixels] = render) -> None:
        self._size = size
        self._n_jobs = n_jobs
        self._render_one = render_one
        self._executor = self._start(n_jobs)

    def __enter__(self) -> "RenderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def render(self, drawings: Sequence[Drawing], advance: Callable[[int], object]) -> list[Outcome]:
        """Each drawing's (size, size, 3) pixels, or the reason why it is dropped, in order."""
        outcomes: list[Outcome] = []
        chunks = [
            [(drawing.payload, drawing.unlike) for drawing in drawings[start : start + CHUNK]]
            for start in range(0, len(drawings), CHUNK)
        ]
        for rendered in self._rendered(chunks):
            outcomes += rendered
            advance(len(rendered))
        return outcomes

    def _rendered(self, chunks: list[list[Payloads]]) -> Iterator[list[Outcome]]:
        done = 0
        while done < len(chunks):
            futures = [
                self._executor.submit(_render_chunk, chunk, self._size, self._render_one)
                for chunk in chunks[done:]
            ]
            try:
                for future in futures:
                    yield future.result()
                    done += 1
            except BrokenProcessPool:  # the cause is in the first chunk that is not done
                self._executor = self._start(self._n_jobs)
                yield self._render_in_new_process(chunks[done])
                done += 1

    def _render_in_new_process(self, chunk: list[Payloads]) -> list[Outcome]:
        """Render in a separate process; bisect the chunk to find a drawing that kills it."""
        with self._start(1) as executor:
            try:
                return executor.submit(_render_chunk, chunk, self._size, self._render_one).result()
            except BrokenProcessPool:
                if len(chunk) == 1:
                    return ["failed"]
        middle = len(chunk) // 2
        return self._render_in_new_process(chunk[:middle]) + self._render_in_new_process(chunk[middle:])

    def _start(self, n_jobs: int) -> ProcessPoolExecutor:
        # spawned, not forked: a fork leaves locks of the parent's threads held
        return ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Exit when the parent ends, or a killed build would leave its renderers waiting for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _render_chunk(
    chunk: list[Payloads], size: int, render_one: Callable[[bytes, int], Pixels]
) -> list[Outcome]:
    return [_outcome(payload, unlike, size, render_one) for payload, unlike in chunk]


def _outcome(
    payload: bytes, unlike: bytes | None, size: int, render_one: Callable[[bytes, int], Pixels]
) -> Outcome:
    try:
        pixels = render_one(payload, size)
        if is_blank(pixels):
            return "blank"
        if unlike is not None and is_same_drawing(pixels, render_one(unlike, size)):
            return "same drawing"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic in the renderer's native code is not an Exception
        return "failed"
    return pixels
