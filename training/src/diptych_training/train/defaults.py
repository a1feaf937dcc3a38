"""Keys of a recipe that it leaves open: they follow from its data and its other keys. Reads no image."""

from collections.abc import Sequence
from typing import Any, TypeVar

from diptych_training.config import OptimConfig, PairsConfig, RunConfig, TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.schema import Frozen

Table = TypeVar("Table", bound=Frozen)
MIXTURE, STREAMS = ("data", "mixture"), ("data", "pairs", "streams")
BATCH_SIZE, BEST_BY, WARMUP_STEPS = ("run", "batch_size"), ("run", "best_by"), ("optim", "warmup_steps")
WARMUP_SHARE = 10  # a tenth of the steps


def with_defaults(config: TrainConfig, dataset: PackedDataset) -> TrainConfig:
    """The recipe of a new run. What is left open fits its data:

    - `run.batch_size`: at most as many items of a packed data set as there are to learn from.
    - `data.mixture`: all kinds of the data set alike.
    - `data.pairs.streams`: a divisor of the batch.
    - `run.best_by`: zero-shot on every kind that there is to validate on; nothing where there is none.
    - `optim.warmup_steps`: at most a tenth of the steps.
    """
    taught, judged = (
        sorted({entry.kind for _, entry in dataset.listed(split)}) for split in ("train", "validation")
    )
    if config.data.pairs is None and taught:
        n_items = sum(entry.n for _, entry in dataset.listed("train"))
        config = _filled(config, MIXTURE, dict.fromkeys(taught, 1.0))
        config = _filled(config, BATCH_SIZE, _batch_size(config, n_items))
    config = _filled(config, STREAMS, _streams(config.n_own))
    config = _filled(config, BEST_BY, tuple(f"{kind}_top1" for kind in judged))
    return _filled(config, WARMUP_STEPS, min(OptimConfig().warmup_steps, config.run.steps // WARMUP_SHARE))


def fill_from_run(config: TrainConfig, ran: TrainConfig) -> TrainConfig:
    """The recipe of a run that goes on: what is left open is what it was."""
    for path in (MIXTURE, STREAMS, BATCH_SIZE, BEST_BY, WARMUP_STEPS):
        config = _filled(config, path, _value(ran, path))
    return config


def _value(table: Any, path: Sequence[str]) -> Any:
    """What stands at the path; None below a table that is not there."""
    for key in path:
        table = getattr(table, key, None)
    return table


def _filled(table: Table, path: Sequence[str], value: Any) -> Table:
    """With this value at the path, unless the recipe says one or has no such table."""
    key, *rest = path
    inner = getattr(table, key)
    if rest:
        return table if inner is None else table.model_copy(update={key: _filled(inner, rest, value)})
    return table if key in table.model_fields_set else table.model_copy(update={key: value})


def _batch_size(config: TrainConfig, n_items: int) -> int:
    """The largest power of two whose own items, without rehearsed ones, are not more than there are."""
    largest: int = RunConfig.model_fields["batch_size"].default
    sizes = [1 << exponent for exponent in range(largest.bit_length() - 1, 0, -1)]
    for size in sizes:
        sized = config.model_copy(update={"run": config.run.model_copy(update={"batch_size": size})})
        if 1 <= sized.n_own <= n_items and all(sized.rehearsed.values()):
            return size
    return sizes[0]


def _streams(n_own: int) -> int:
    """The most that give equal parts of a batch."""
    default: int = PairsConfig.model_fields["streams"].default
    return next(n for n in range(default, 0, -1) if n_own % n == 0)
