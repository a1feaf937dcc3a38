"""Checks of a recipe against its data and the number of ranks, made before a run starts."""

from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.zero_shot import TOP_K
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
    taught = config.text_teacher
    if taught is not None and taught.batch_size % ranks.world_size:
        raise TrainingConfigError(
            f"text_teacher.batch_size is {taught.batch_size}: it must be a multiple of the number of ranks, "
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
