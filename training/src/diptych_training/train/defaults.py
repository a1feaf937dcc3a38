"""Recipe keys that are left open: their values follow from the data and from other keys."""

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
    """Fill the open keys of a new run's recipe from its data:

    - `run.batch_size`: at most the number of training items of a packed data set.
    - `data.mixture`: equal weights for all kinds of the data set.
    - `data.pairs.streams`: a divisor of the batch size.
    - `run.best_by`: zero-shot accuracy on every kind in validation; empty if there is none.
    - `optim.warmup_steps`: at most a tenth of the steps.
    """
    train_kinds, validation_kinds = (
        sorted({entry.kind for _, entry in dataset.listed(split)}) for split in ("train", "validation")
    )
    if config.data.pairs is None and train_kinds:
        n_items = sum(entry.n for _, entry in dataset.listed("train"))
        config = _filled(config, MIXTURE, dict.fromkeys(train_kinds, 1.0))
        config = _filled(config, BATCH_SIZE, _batch_size(config, n_items))
    config = _filled(config, STREAMS, _streams(config.n_own))
    config = _filled(config, BEST_BY, tuple(f"{kind}_top1" for kind in validation_kinds))
    return _filled(config, WARMUP_STEPS, min(OptimConfig().warmup_steps, config.run.steps // WARMUP_SHARE))


def fill_from_run(config: TrainConfig, ran: TrainConfig) -> TrainConfig:
    """Fill the open keys of a resumed run's recipe with the values that the run has."""
    for path in (MIXTURE, STREAMS, BATCH_SIZE, BEST_BY, WARMUP_STEPS):
        config = _filled(config, path, _value(ran, path))
    return config


def _value(table: Any, path: Sequence[str]) -> Any:
    """The value at a path of keys; None if a table on the way is missing."""
    for key in path:
        table = getattr(table, key, None)
    return table


def _filled(table: Table, path: Sequence[str], value: Any) -> Table:
    """Set the value at the path, unless the recipe sets it or has no such table."""
    key, *rest = path
    inner = getattr(table, key)
    if rest:
        return table if inner is None else table.model_copy(update={key: _filled(inner, rest, value)})
    return table if key in table.model_fields_set else table.model_copy(update={key: value})


def _batch_size(config: TrainConfig, n_items: int) -> int:
    """The largest power-of-two batch, at most 256, whose non-rehearsed items are at most `n_items`."""
    largest: int = RunConfig.model_fields["batch_size"].default
    sizes = [1 << exponent for exponent in range(largest.bit_length() - 1, 0, -1)]
    for size in sizes:
        sized = config.model_copy(update={"run": config.run.model_copy(update={"batch_size": size})})
        if 1 <= sized.n_own <= n_items and all(sized.rehearsed.values()):
            return size
    return sizes[0]


def _streams(n_own: int) -> int:
    """The largest number of streams that divides the batch."""
    default: int = PairsConfig.model_fields["streams"].default
    return next(n for n in range(default, 0, -1) if n_own % n == 0)
