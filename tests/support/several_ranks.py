"""Runs steps of a tiny model in several processes; each process runs this module.

python -m support.several_ranks FOLDER     in a process with torchrun's environment variables

FOLDER holds recipes as `*.toml`; the first rank writes a `*.pt` beside each, with a `TwoSteps` as a dict.
"""

import os
import subprocess
import sys
import warnings
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from socket import socket

import torch

from diptych_training.config import read_config
from diptych_training.train.distributed.ranks import join_ranks
from support.child_python import python_path
from support.small_recipe import two_steps


def main(folder: str) -> None:
    """Run two steps of every recipe in the folder, one after the other."""
    torch.set_num_threads(1)
    with join_ranks("cpu", timeout_s=60) as ranks:
        for recipe in sorted(Path(folder).glob("*.toml")):
            stepped = two_steps(read_config(recipe), ranks)
            if ranks.is_first:
                torch.save(asdict(stepped), recipe.with_suffix(".pt"))


def run_ranks(
    n: int, module: str, *arguments: str, timeout_s: float = 120
) -> list[subprocess.CompletedProcess[str]]:
    """Run `python -m module arguments` in n processes of one group; returns when all have ended."""
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]
    try:
        outputs = [process.communicate(timeout=timeout_s) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(running, outputs, strict=True)
    ]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
