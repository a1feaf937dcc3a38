"""Recipe keys that are left open, whose values follow from the data, and checks of a recipe before a run
starts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from diptych_training.config import OptimConfig, PairsConfig, RunConfig, TrainConfig, TrainingPrecision
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.zero_shot import TOP_K
from diptych_training.schema import Frozen
from diptych_training.train.distributed.ranks import Ranks


def check_validation(dataset: PackedDataset, config: TrainConfig) -> None:
    """Raise TrainingConfigError unless validation gives every metric that `run.best_by` names."""
    kinds = {entry.kind for _, entry in dataset.listed("validation")}
    given = [f"{kind}_top{k}" for kind in sorted(kinds) for k in TOP_K]
    missing = [name for name in config.run.best_by if name not in given]
    if missing:
        raise TrainingConfigError(
            f"run.best_by names {', '.join(missing)}; "
            f"validation on {dataset.path} gives {', '.join(given) or 'nothing: it has no validation source'}"
        )


def check_shares(config: TrainConfig, ranks: Ranks) -> None:
    """Raise TrainingConfigError if the ranks cannot share the batch evenly, or if sharding has only one
    rank.
    """
    n = config.run.batch_size
    if n % ranks.world_size:
        raise TrainingConfigError(
            f"run.batch_size is {n}: it must be a multiple of the number of ranks, {ranks.world_size}"
        )
    teacher = config.text_teacher
    if teacher is not None and teacher.batch_size % ranks.world_size:
        raise TrainingConfigError(
            f"text_teacher.batch_size is {teacher.batch_size}: it must be a multiple of the number of ranks, "
            f"{ranks.world_size}"
        )
    for name, n_old in config.rehearsed.items():
        if n_old % ranks.world_size:
            raise TrainingConfigError(
                f"data.rehearsal.{name}.share is {n_old} items of run.batch_size {n}: "
                f"it must be a multiple of the number of ranks, {ranks.world_size}"
            )
    pairs = config.data.pairs
    if pairs is not None and pairs.streams % ranks.world_size:
        raise TrainingConfigError(
            f"data.pairs.streams is {pairs.streams}: it must be a multiple of the number of ranks, "
            f"{ranks.world_size}"
        )
    if config.scale.shard and ranks.is_single:
        raise TrainingConfigError(
            "scale.shard shares weights among ranks, but there is only one: start it with torchrun"
        )


Table = TypeVar("Table", bound=Frozen)
MIXTURE, STREAMS = ("data", "mixture"), ("data", "pairs", "streams")
PRECISION = ("run", "precision")
BATCH_SIZE, BEST_BY, WARMUP_STEPS = ("run", "batch_size"), ("run", "best_by"), ("optim", "warmup_steps")
WARMUP_SHARE = 10  # a tenth of the steps


def with_defaults(
    config: TrainConfig, dataset: PackedDataset, precision: TrainingPrecision = "fp32"
) -> TrainConfig:
    """Fill the open keys of a new run's recipe from its data:

    - `run.batch_size`: at most the number of training items of a packed data set.
    - `data.mixture`: equal weights for all kinds of the data set.
    - `data.pairs.streams`: a divisor of the batch size.
    - `run.precision`: `precision`; the default computes the same on all machines.
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
    config = _filled(config, PRECISION, precision)
    config = _filled(config, BEST_BY, tuple(f"{kind}_top1" for kind in validation_kinds))
    return _filled(config, WARMUP_STEPS, min(OptimConfig().warmup_steps, config.run.steps // WARMUP_SHARE))


def fill_from_run(config: TrainConfig, ran: TrainConfig) -> TrainConfig:
    """Fill the open keys of a resumed run's recipe with the values that the run has."""
    for path in (MIXTURE, STREAMS, BATCH_SIZE, PRECISION, BEST_BY, WARMUP_STEPS):
        config = _filled(config, path, _value(ran, path))
    return config


def fastest_precision(device: torch.device) -> TrainingPrecision:
    """Return bf16 where the device has instructions for products of matrices in it, otherwise fp32."""
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 matrices.

    Processors without them convert each product to float32, which is slower than float32 alone.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: Mapping[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older releases of torch lack it
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


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
