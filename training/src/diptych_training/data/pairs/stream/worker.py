"""Run an iterator in a process of its own.

Each process has its own connection, and nothing is shared: a process that dies, even while sending an item,
closes its connection, so that the parent does not wait for ever. A process whose parent is gone exits too.
"""

import atexit
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from threading import Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
PREFETCHED = 2  # items made in advance; the connection may buffer further small ones


class WorkerDied(Exception):
    """A worker process ended unexpectedly; the message says which and how."""


class Worker(Generic[Item]):
    """Iterates over an iterable in another process, which lives until it is closed or the parent ends."""

    def __init__(self) -> None:
        """Start the process. Raises WorkerDied if it cannot be started."""
        # Spawned, not forked: clients of file systems have threads, and a fork leaves their locks held.
        spawn = multiprocessing.get_context("spawn")
        self._connection, child_connection = spawn.Pipe()
        self._process = spawn.Process(target=_run_worker, args=(child_connection,), daemon=True)
        with child_connection, _block_stop_signals():  # open there alone, or its end would go unnoticed here
            try:
                self._process.start()
            except OSError as error:
                raise WorkerDied(f"it could not be started: {error.strerror or error}") from error
        atexit.register(
            self.close
        )  # before multiprocessing's own, which asks and waits: SIGTERM does nothing

    def begin(self, items: Iterable[Item]) -> None:
        """Send the iterable. Waits until the process is up; raises WorkerDied."""
        try:
            self._connection.send(items)  # not in the constructor, which would wait for ever if it died
        except OSError:
            raise self._worker_died() from None

    def __next__(self) -> Item:
        """The next item. Raises WorkerDied, also after the last item, when the process has ended."""
        try:
            if self._process.is_alive():
                item: Item = self._connection.recv()
                return item
        except (EOFError, OSError):  # between items, or within one
            pass
        raise self._worker_died()

    def close(self) -> None:
        """Kill the process."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _worker_died(self) -> WorkerDied:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return WorkerDied(f"process {self._process.pid} {how}")


@contextmanager
def _block_stop_signals() -> Iterator[None]:
    """Block SIGINT and SIGTERM until the end of the block, and permanently in processes started inside.

    Ctrl-C reaches all processes of a terminal, and SIGTERM those of a group or container. The training loop
    then finishes its step, for which it needs data, and ends the workers itself.
    """
    resource_tracker.ensure_running()  # the first process start would do it, and unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_worker(connection: Connection) -> None:
    try:
        items: Iterable[object] = connection.recv()
    except (EOFError, OSError):
        return  # the parent is gone
    watching = Thread(target=_exit_with_parent, args=(connection,), daemon=True)
    watching.start()
    with ThreadPoolExecutor(1) as sender:  # sends while the next item is made
        in_flight: deque[Future[None]] = deque()
        for item in items:
            in_flight.append(sender.submit(_send, connection, item))
            if len(in_flight) == PREFETCHED:
                in_flight.popleft().result()
    watching.join()  # until the parent has taken the last item


def _send(connection: Connection, item: object) -> None:
    try:
        connection.send(item)
    except OSError:
        os._exit(0)  # the parent is gone


def _exit_with_parent(connection: Connection) -> None:
    with suppress(EOFError, OSError):
        connection.recv_bytes()  # never returns data: the parent only closes its end, or dies
    os._exit(0)
