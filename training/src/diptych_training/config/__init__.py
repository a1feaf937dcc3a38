"""A training recipe as data: read from TOML, checked, frozen; knows nothing of how it is carried out."""

from diptych_training.config.augment import AugmentConfig
from diptych_training.config.captions import CaptionConfig
from diptych_training.config.data import DataConfig
from diptych_training.config.distill import DistillConfig
from diptych_training.config.optim import OptimConfig
from diptych_training.config.overrides import Tables
from diptych_training.config.pairs import PairsConfig
from diptych_training.config.reading import dump_config, model_tables, read_config, start_of
from diptych_training.config.recipe import TrainConfig
from diptych_training.config.rehearsal import RehearsalConfig
from diptych_training.config.run import RunConfig, ScaleConfig
from diptych_training.config.start import LockConfig, StartConfig

__all__ = [
    "AugmentConfig",
    "CaptionConfig",
    "DataConfig",
    "DistillConfig",
    "LockConfig",
    "OptimConfig",
    "PairsConfig",
    "RehearsalConfig",
    "RunConfig",
    "ScaleConfig",
    "StartConfig",
    "Tables",
    "TrainConfig",
    "dump_config",
    "model_tables",
    "read_config",
    "start_of",
]
