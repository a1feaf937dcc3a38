"""Items for a `Worker` to give, and a program that has one; knows nothing of pairs.

python -m support.worker_items ENDING     prints the worker's process id, then ends without closing it

ENDING is `killed`, `terminated` or `returned`.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from diptych_training.data.pairs.stream.worker import Worker


@dataclass(frozen=True)
class Blocks:
    """`n` blocks of bytes; of endless number where it is None."""

    n_bytes: int
    n: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        given = 0
        while self.n is None or given < self.n:
            yield bytes([given % 256]) * self.n_bytes
            given += 1


@dataclass(frozen=True)
class Broken:
    """One block, and then a bug."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError("a bug of the making")


def main(ending: str) -> None:
    """With a worker in the middle of an item that nobody takes."""
    worker = Worker[bytes]()
    worker.begin(Blocks(2**22))
    next(worker)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if ending != "returned":
        os.kill(os.getpid(), {"killed": signal.SIGKILL, "terminated": signal.SIGTERM}[ending])


if __name__ == "__main__":
    main(sys.argv[1])
