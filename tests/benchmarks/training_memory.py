"""What gradient caching, checkpointed blocks and shares save in memory, and cost in time: a table.

PYTHONPATH=tests python tests/benchmarks/training_memory.py [--batch-size 64] [--architecture ViT-B-32]

Every variant is a process of its own, or two, one after the other, with random weights and inputs.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import closing
from socket import socket

import torch

from diptych_training.config import TrainConfig
from diptych_training.models.named import read_architecture
from diptych_training.train.batches import Batch
from diptych_training.train.ranks import Ranks, joined
from diptych_training.train.state import new_state
from diptych_training.train.step import Passes

N_STEPS = 2  # after one that warms up
VARIANTS: dict[str, tuple[int, dict[str, object]]] = {  # ranks, table `scale`
    "plain": (1, {}),
    "checkpoint_blocks": (1, {"checkpoint_blocks": True}),
    "chunk_size 16": (1, {"chunk_size": 16}),
    "chunk_size 16, checkpoint_blocks": (1, {"chunk_size": 16, "checkpoint_blocks": True}),
    "2 ranks, copies": (2, {}),
    "2 ranks, shares": (2, {"shard": True}),
}


def config_of(architecture: str, batch_size: int, scale: dict[str, object]) -> TrainConfig:
    """A recipe of the architecture, in bfloat16 where it is safe."""
    recipe = read_architecture(architecture)
    recipe["preprocess"].setdefault("size", recipe["model"]["image_size"])
    recipe["text"].setdefault("context_length", recipe["model"]["text"]["context_length"])
    run = {"steps": 10, "batch_size": batch_size, "precision": "bf16"}
    return TrainConfig.model_validate(
        {"name": "memory", **recipe, "run": run, "optim": {"warmup_steps": 1}, "scale": scale}
    )


def batch_of(config: TrainConfig, ranks: Ranks) -> Batch:
    """A rank's share of random pixels and texts."""
    n, model = config.run.batch_size // ranks.world_size, config.model
    input_ids = torch.randint(1, model.text.vocab_size - 1, (n, 32))
    input_ids[:, -1] = model.text.vocab_size - 1
    keys = torch.arange(2 * n).view(n, 2) + 2 * n * ranks.rank
    return Batch(torch.randn(n, 3, model.image_size, model.image_size), input_ids, keys)


def measure(config: TrainConfig) -> None:
    """Print the highest resident size of this process and the median seconds of a step, as JSON."""
    with joined("cpu", 600) as ranks:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks.world_size))
        state = new_state(config, ranks=ranks)
        passes = Passes(
            state.model, state.towers, config.loss, config.run.precision, config.scale.chunk_size, ranks
        )
        seconds = []
        for step in range(1 + N_STEPS):
            batch, started = batch_of(config, ranks), time.perf_counter()
            state.stepper.apply(step, passes.forward_backward(batch)["loss"])
            seconds.append(time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"peak_bytes": peak, "step_s": statistics.median(seconds[1:])}))


def run_variant(name: str, arguments: list[str]) -> dict[str, float]:
    """The numbers of a variant: those of the rank that took the most."""
    world_size = VARIANTS[name][0]
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, __file__, "--variant", name, *arguments]
    running = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)}, stdout=subprocess.PIPE)
        for rank in range(world_size)
    ]
    found = [json.loads(process.communicate()[0]) for process in running]
    return {key: max(one[key] for one in found) for key in found[0]}


def main() -> None:
    """All variants in turns, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--variant", choices=list(VARIANTS))
    args = parser.parse_args()
    if args.variant is not None:
        measure(config_of(args.architecture, args.batch_size, VARIANTS[args.variant][1]))
        return
    arguments = ["--architecture", args.architecture, "--batch-size", str(args.batch_size)]
    machine = f"torch {torch.__version__}, {os.cpu_count()} cores"
    print(f"{args.architecture}, batch {args.batch_size}, bf16, {machine}\n")
    print("| scale | peak memory of a process, MB | seconds a step |\n|---|---:|---:|", flush=True)
    for name in VARIANTS:
        numbers = run_variant(name, arguments)
        print(f"| {name} | {numbers['peak_bytes'] / 1e6:,.0f} | {numbers['step_s']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
