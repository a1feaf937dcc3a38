"""What both trainers are given: sizes, steps and where it all lies. Knows neither of them."""

from dataclasses import dataclass
from pathlib import Path

from diptych_training.models import ModelConfig, TextConfig, ViTConfig

BATCH_SIZE, IMAGE_SIZE, PATCH_SIZE = 256, 64, 8  # 64 patches
VOCAB_SIZE, CONTEXT_LENGTH = 49408, 77  # CLIP's own
WIDTH, HEADS = 192, 3
MODEL = ModelConfig(
    embed_dim=WIDTH,
    image_size=IMAGE_SIZE,
    activation="gelu",  # open_clip's, unless told otherwise
    image=ViTConfig(patch_size=PATCH_SIZE, width=WIDTH, layers=6, heads=HEADS),
    text=TextConfig(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=WIDTH, layers=3, heads=HEADS),
)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# One optimizer for both: no weight decay, since they decay other tensors.
# At twice this rate fifty steps end where chance is, and equal losses would say nothing.
LEARNING_RATE, BETAS, EPS, CLIP_NORM = 5e-4, (0.9, 0.98), 1e-6, 1.0
SEED, N_WORKERS = 0, 1


@dataclass(frozen=True)
class Task:
    """Files that were made for this number of steps."""

    n_steps: int
    n_warmup: int
    table: Path  # tab-separated: filepath, title; in the order of training, a batch after the other
    folder: Path  # for all that they read and write

    @property
    def weights(self) -> Path:
        """A state dict that both start from."""
        return self.folder / "start.pt"

    @property
    def start(self) -> Path:
        """The same as a run of ours, with its tokenizer."""
        return self.folder / "start"


@dataclass(frozen=True)
class Turn:
    """What one training run gave."""

    seconds: list[float]  # of each step, data included
    losses: list[float]
    peak_mb: float  # resident, of the process that trains
    cpu_share: float  # processor time over wall time, workers and start included

    def images_per_s(self, n_warm: int) -> float:
        """Over all steps but the first."""
        counted = self.seconds[n_warm:]
        return BATCH_SIZE * len(counted) / sum(counted)

    def final_loss(self, n_last: int) -> float:
        """Mean of the last steps."""
        return sum(self.losses[-n_last:]) / n_last
