"""Threads that call FAISS."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import faiss
from threadpoolctl import threadpool_limits

NICENESS = 10  # of the thread that trains: a tenth of the processor time of others, where all are busy


class IndexThreads(ThreadPoolExecutor):
    """The threads for all indexes of a server. They end with the last index that uses them.

    Each uses one OpenMP thread: with two threads and one busy core a search takes many times longer.
    """

    def __init__(self, n_threads: int, on_start: Callable[[], object] = lambda: None) -> None:
        super().__init__(n_threads, "index", initializer=_start_thread, initargs=(on_start,))
        self.n_threads = n_threads


def _start_thread(on_start: Callable[[], object]) -> None:
    faiss.omp_set_num_threads(1)
    on_start()


def training_thread() -> IndexThreads:
    """Make the thread that trains, for all indexes of a server, which gives way to all other work."""
    return IndexThreads(1, _give_way)


def _give_way() -> None:
    with suppress(OSError):  # Linux has priorities of threads; a lower one than this stays
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def use_one_blas_thread() -> None:
    """Limit the matrix products of numpy and FAISS to one thread, for all libraries that are loaded.

    BLAS threads wait for work by spinning, on the cores that encode and decode. The product of one image and
    a thousand labels took 1.8 ms on two processors, and takes 0.03 ms on one.
    """
    threadpool_limits(limits=1, user_api="blas")
