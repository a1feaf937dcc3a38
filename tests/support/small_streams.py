"""Small batches from streams of pairs, whose pixels encode the number of the pair.

home = write_home(tmp_path)                    # a run's folder, and four shards of 13 pairs
with opening(home) as make:
    batches = make("data.pairs.workers=2")     # overrides of the recipe; its processes end with the block
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from diptych_training.config import TrainConfig, read_config
from diptych_training.train.batches.batch import Batch
from diptych_training.train.batches.streamed import StreamedBatches, source_reader
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from support.pair_files import numbers_of, write_tars
from support.tiny_run import write_tiny_run

Make = Callable[..., StreamedBatches]
N_PAIRS = 4 * 13
OVERRIDES = [
    "run.steps=40", "run.batch_size=8", "preprocess.size=16", "model.image_size=16",
    "preprocess.mean=[0, 0, 0]", "preprocess.std=[1, 1, 1]", "data.pairs.streams=4", "data.pairs.shuffle=20",
    "data.pairs.workers=0",
]  # fmt: skip


def write_home(home: Path) -> Path:
    """Write a run's folder, and shards of consecutive pairs in `shards`."""
    write_tiny_run(home / "run")
    write_tars(home / "shards", 4, N_PAIRS // 4)
    return home


def recipe(home: Path, *overrides: str, train: str = "") -> TrainConfig:
    """The recipe of small batches from these sources, or from the shards of `write_home`."""
    train = train or f"{home}/shards/s-{{0..3}}.tar"
    named = f"data.pairs.train='{train}'"
    return read_config(home / "run" / "config.toml", [named, *OVERRIDES, *overrides])


@contextmanager
def opening(home: Path) -> Iterator[Make]:
    """Yield a function that opens batches; their processes end with the block."""
    opened: list[StreamedBatches] = []

    def make(
        *overrides: str, train: str = "", ranks: Ranks = SINGLE_RANK, **place: object
    ) -> StreamedBatches:
        config = recipe(home, *overrides, train=train)
        assert config.data.pairs is not None
        shards = source_reader(config.data.pairs).shards(config.data.pairs.train)
        batches = StreamedBatches(shards, home / "run" / "tokenizer.json", config, ranks, **place)
        opened.append(batches)
        return batches

    try:
        yield make
    finally:
        for batches in opened:
            batches.close()


def seen(batch: Batch) -> list[int]:
    """The numbers of the pairs in a batch."""
    pixels = (batch.images.permute(0, 2, 3, 1) * 255).round().numpy().astype(np.uint8)
    return numbers_of(pixels)


def run_of(batches: StreamedBatches, first: int, last: int) -> list[list[int]]:
    """The numbers of the pairs in the batches of these steps."""
    return [seen(batches.make(step)) for step in range(first, last)]


def excluding(tmp_path: Path, n: int) -> str:
    """An override that excludes the first `n` pairs."""
    names = [f"shards/s-{number // 13}.tar:{number:05}" for number in range(n)]
    (tmp_path / "list.tsv").write_text("\n".join(["name", *names]))
    return f"data.pairs.exclude='{tmp_path}/list.tsv'"
