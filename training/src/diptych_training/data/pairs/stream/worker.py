"""An iterator in a process of its own; knows nothing of what it gives.

Each process has a connection of its own, and nothing is shared: one that dies, even in the middle of an item,
closes it, so that nobody waits for the rest. One whose parent is gone, however that ended, ends too.
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
PREFETCHED = 2  # items that are made before they are asked for; small ones beyond, that the connection holds


class WorkerDied(Exception):
    """A process has ended that should not have; says which and how."""


class Worker(Generic[Item]):
    """Gives what an iterable that is sent there gives. Close it, or it lives until this process ends."""

    def __init__(self) -> None:
        """Start the process. Raises WorkerDied if that cannot be."""
        # Spawned, not forked: clients of file systems have threads, whose locks a fork leaves held.
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        with theirs, _stopping_held_back():  # open there alone, or its end would go unnoticed here
            try:
                self._process.start()
            except OSError as error:
                raise WorkerDied(f"it could not be started: {error.strerror or error}") from error
        atexit.register(
            self.close
        )  # before multiprocessing's own, which asks and waits: SIGTERM does nothing

    def begin(self, items: Iterable[Item]) -> None:
        """Say what it is to give. Waits until the process is up; raises WorkerDied."""
        try:
            self._connection.send(items)  # not by its start, which would wait for ever if it died
        except OSError:
            raise self._death() from None

    def __next__(self) -> Item:
        """The next item. Raises WorkerDied, also once there is none and the process has ended."""
        try:
            if self._process.is_alive():
                item: Item = self._connection.recv()
                return item
        except (EOFError, OSError):  # between two items, or within one
            pass
        raise self._death()

    def close(self) -> None:
        """End the process at once, whatever it is doing."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _death(self) -> WorkerDied:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return WorkerDied(f"process {self._process.pid} {how}")


@contextmanager
def _stopping_held_back() -> Iterator[None]:
    """Signals that stop a run wait here until the end of the block, and for ever in what is started in it.

    Ctrl-C reaches all processes of a terminal, and SIGTERM those of a group or container: the loop finishes
    its step then, needs its data for that, and ends the workers when it is done.
    """
    resource_tracker.ensure_running()  # or the first start does it, which lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection) -> None:
    try:
        items: Iterable[object] = connection.recv()
    except (EOFError, OSError):
        return  # nobody wants them any more
    watching = Thread(target=_end_with_the_parent, args=(connection,), daemon=True)
    watching.start()
    with ThreadPoolExecutor(1) as sender:  # beside the making, which waits only for what is not yet taken
        on_their_way: deque[Future[None]] = deque()
        for item in items:
            on_their_way.append(sender.submit(_send, connection, item))
            if len(on_their_way) == PREFETCHED:
                on_their_way.popleft().result()
    watching.join()  # the last item is still to be taken


def _send(connection: Connection, item: object) -> None:
    try:
        connection.send(item)
    except OSError:
        os._exit(0)  # nobody is there to take it


def _end_with_the_parent(connection: Connection) -> None:
    with suppress(EOFError, OSError):
        connection.recv_bytes()  # never comes: the other end closes, by its owner's will or by its death
    os._exit(0)
