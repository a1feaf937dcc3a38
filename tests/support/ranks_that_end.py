"""Joins ranks, takes one step through DDP, and prints which of gloo's threads are left when Python ends."""

import atexit
from pathlib import Path


def print_threads() -> None:
    names = [file.read_text(encoding="utf-8").strip() for file in Path("/proc/self/task").glob("*/comm")]
    print("threads:", *sorted(name for name in names if "gloo" in name))


atexit.register(print_threads)  # before the imports: what is registered first is called last

import torch  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from diptych_training.train.distributed.ranks import join_ranks  # noqa: E402

if __name__ == "__main__":
    with join_ranks("cpu", timeout_s=60) as ranks:
        DistributedDataParallel(torch.nn.Linear(2, 2))(torch.ones(1, 2)).sum().backward()
        ranks.any(False)
