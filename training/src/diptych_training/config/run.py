"""The optimizer (`optim`), the schedule of a run (`run`), and its fit to the machine (`scale`)."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from diptych_training.models.config import ModelConfig
from diptych_training.schema import Frozen, Probability

TrainingPrecision = Literal["fp32", "bf16"]


class RunConfig(Frozen):
    """Length, batch size, precision and intervals of a run."""

    steps: PositiveInt
    batch_size: int = Field(default=256, ge=2)  # the default is lower for small packed data sets
    precision: TrainingPrecision = "bf16"  # a recipe that leaves it open gets what fits the device
    channels_last: bool = True
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 500
    validate_every: PositiveInt = 500
    best_by: tuple[str, ...] = ("emoji_top1", "icons_top1")  # their mean; the default fits the data
    n_threads: int = Field(default=0, ge=0)  # 0: all cores
    start_size: PositiveInt | None = None  # image side of the first steps, which makes them faster
    start_fraction: Probability = 0.0  # the share of the steps with small images

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if self.start_fraction and self.start_size is None:
            raise ValueError(f"start_fraction is {self.start_fraction}, but start_size is missing")
        return self

    def check_model(self, model: ModelConfig) -> None:
        """Raise ValueError if the model cannot begin with images of `start_size`."""
        size, start, stride = model.image_size, self.start_size, model.image.stride
        if start is not None and (start % stride or size % start):
            raise ValueError(
                f"run.start_size is {start}, it must divide model.image_size, {size}, and be a multiple of "
                f"the image tower's stride, {stride}"
            )


class ScaleConfig(Frozen):
    """Memory, speed and processes of a run; these do not change what is learned.

    A resumed run may use other values.
    """

    chunk_size: PositiveInt | None = None  # items of a rank that are computed at once (gradient caching)
    checkpoint_blocks: bool = False  # recompute transformer blocks in the backward pass
    compile: bool = False  # torch.compile for the blocks of both towers
    shard: bool = False  # each rank keeps a share of the weights (FSDP2), not a copy (DDP)
    timeout_s: PositiveFloat = 600.0  # a rank that does not answer for this long is lost


class OptimConfig(Frozen):
    """AdamW, warm-up and schedule. A layer's rate is `lr` times `layer_decay` for each layer above it.

    With the schedule `constant`, the rate stays at `lr` until the last part of the steps, `cooldown`, in
    which it falls along a line (Hägele et al. 2024).
    """

    lr: PositiveFloat = 1e-3
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    cooldown: Probability = 0.2
    min_lr_ratio: Probability = 0.01
    warmup_steps: int = Field(default=200, ge=0)  # the default is at most a tenth of the steps
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    eps: PositiveFloat = 1e-6
    grad_clip: PositiveFloat = 1.0
    max_skipped_in_row: PositiveInt = 20

    def check_steps(self, n_steps: int) -> None:
        """Raise ValueError if a stated warm-up is longer than the run."""
        if "warmup_steps" in self.model_fields_set and self.warmup_steps > n_steps:
            raise ValueError(
                f"optim.warmup_steps is {self.warmup_steps}, it must be at most run.steps, {n_steps}"
            )
