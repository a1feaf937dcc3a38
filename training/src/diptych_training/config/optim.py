"""How weights are changed (`optim`); changes none."""

from pydantic import Field, PositiveFloat, PositiveInt

from diptych_training.config.numbers import Probability
from diptych_training.models.frozen import Frozen


class OptimConfig(Frozen):
    """AdamW, warm-up and cosine. A layer's rate is `lr`, times `layer_decay` for each layer above it."""

    lr: PositiveFloat = 1e-3
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    min_lr_ratio: Probability = 0.01
    warmup_steps: int = Field(default=200, ge=0)  # at most a tenth of the steps if left out
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    eps: PositiveFloat = 1e-6
    grad_clip: PositiveFloat = 1.0
    max_skipped_in_row: PositiveInt = 20
