"""Runs image decoders that may crash, hang or exhaust memory in processes of their own.

Each process has its own pipe and shares nothing. One that dies, at any moment, loses the item that it had and
no other.
"""

import logging
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import LifoQueue
from signal import SIGXCPU, Signals
from threading import Event
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from diptych.adapters.images.decoder_child import ChildLimits
from diptych.errors import NotReady, UndecodableImage

log = logging.getLogger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

PROGRAM = "diptych.adapters.images.decoder_child"
MAX_PROCESSES = 4
CPU_S = 2  # for the header; `decoder_child` defines the time for the pixels
WALL_S = 120.0  # for a decoder that waits for ever, or a very busy machine
BYTES_PER_PX = 24  # twice what the most expensive pictures took
SPARE_BYTES = 256_000_000  # for the file, libraries that are loaded late, and the resized picture
STARTS_WITHIN_S = 60.0
POLL_S = 0.2  # between two checks whether the result is still wanted


def limits_for(max_px: int) -> ChildLimits:
    """Limits that suffice for every intact picture of up to `max_px` pixels."""
    return ChildLimits(SPARE_BYTES + BYTES_PER_PX * max_px, CPU_S, WALL_S)


class DecoderProcesses:
    """At most `n_processes` decoder processes, started when they are needed and again after they died.

    They end when this process closes them, exits or is killed.
    """

    def __init__(self, limits: ChildLimits, n_processes: int = 1) -> None:
        self.n_processes = n_processes
        self._children = [_Child(limits) for _ in range(n_processes)]
        self._idle: LifoQueue[_Child] = (
            LifoQueue()
        )  # last in, first out: a sequence of single items needs one process only
        for child in self._children:
            self._idle.put(child)
        weakref.finalize(self, _close, self._children)

    def run(self, unwanted: Event, work: Callable[P, Result], *args: P.args, **options: P.kwargs) -> Result:
        """Run `work` in an idle process, once there is one, and return or raise what it returns or raises.

        `work`, its arguments and its result are pickled. Raises UndecodableImage when the process dies or
        exceeds its limits; NotReady when no process can be started, after `close`, or when the process was
        ended because `unwanted` was set.
        """
        child = self._idle.get()
        try:
            has_returned, outcome = child.run((work, args, options), unwanted)
        finally:
            self._idle.put(child)
        if not has_returned:
            raise outcome
        result: Result = outcome
        return result

    def close(self) -> None:
        """End all processes at once. Running calls raise NotReady."""
        _close(self._children)


class _Child:
    """One process and the pipe to it. One thread at a time calls `run`, any thread `close`."""

    def __init__(self, limits: ChildLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_closed = False

    def run(self, item: tuple[Callable[..., object], Any, Any], unwanted: Event) -> tuple[bool, Any]:
        connection, end = self._running(), monotonic() + self._limits.wall_s
        why = ""
        with suppress(EOFError, OSError):
            connection.send(item)
            while not connection.poll(POLL_S):
                if unwanted.is_set():
                    self._end()
                    raise NotReady("the request for the image has ended")
                if monotonic() > end:
                    why = f"took over {self._limits.wall_s:g} s"
                    break
            else:
                outcome: tuple[bool, Any] = connection.recv()
                return outcome
        code = self._end()
        self._refuse_closed()
        why = why or _cause(code)
        log.warning("a process that decodes images was ended: it %s", why)
        raise UndecodableImage(f"the image decoder {why}")

    def close(self) -> None:
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()  # a thread that waits for its result sees the end of the pipe
            process.wait()

    def _running(self) -> Connection:
        """The pipe to a live process. A process that died while it was idle is replaced."""
        self._refuse_closed()
        if self._process is not None and self._process.poll() is not None:
            self._end()
        return self._connection or self._start()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise NotReady("the server is stopping")

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        command = [sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno())]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  this interpreter
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
                )
            except OSError as error:
                ours.close()
                raise NotReady(f"no process that decodes images can be started: {error.strerror}") from error
        self._connection = ours
        if self._is_closed:  # because `close` found no process to end
            self._end()
            self._refuse_closed()
        with suppress(EOFError, OSError):
            ours.send(self._limits)
            if ours.poll(STARTS_WITHIN_S):
                _warn_once(ours.recv())
                return ours
        raise NotReady(f"a process that decodes images did not start: it {_cause(self._end())}")

    def _end(self) -> int:
        """End the process and return its exit code."""
        assert self._process is not None and self._connection is not None
        self._process.kill()
        code = self._process.wait()
        self._connection.close()
        self._process = self._connection = None
        return code


def _cause(code: int) -> str:
    if code == -SIGXCPU:
        return "took more processor time than a file of its size is allowed"
    return f"crashed with {Signals(-code).name}" if code < 0 else f"exited with code {code}"


def _close(children: Sequence[_Child]) -> None:
    for child in children:
        child.close()


@cache
def _warn_once(problem: str) -> None:
    if problem:
        log.warning("the memory of processes that decode images is not limited: %s", problem)
