"""Training recipes as data: read from TOML, validated, immutable.

In: a TOML file and overrides (`--set key=value`). Out: a `TrainConfig`. Read `recipe` first (the tables of a
recipe and what they must agree on), then `reading`.
"""

from diptych_training.config.data import (
    AugmentConfig,
    CaptionConfig,
    DataConfig,
    PairsConfig,
    RehearsalConfig,
)
from diptych_training.config.reading import dump_config, model_tables, read_config, start_of
from diptych_training.config.recipe import TrainConfig
from diptych_training.config.run import OptimConfig, RunConfig, ScaleConfig, TrainingPrecision
from diptych_training.config.start import (
    DistillConfig,
    LockConfig,
    LoraConfig,
    StartConfig,
    TextTeacherConfig,
)
from diptych_training.schema import Tables

__all__ = [
    "AugmentConfig",
    "CaptionConfig",
    "DataConfig",
    "DistillConfig",
    "LockConfig",
    "LoraConfig",
    "OptimConfig",
    "PairsConfig",
    "RehearsalConfig",
    "RunConfig",
    "ScaleConfig",
    "StartConfig",
    "Tables",
    "TextTeacherConfig",
    "TrainConfig",
    "TrainingPrecision",
    "dump_config",
    "model_tables",
    "read_config",
    "start_of",
]
