"""The objective of a recipe, and the batches that it draws from."""

from dataclasses import dataclass, replace

import numpy as np

from diptych_training.config import TrainConfig
from diptych_training.objectives.contrastive import Contrastive
from diptych_training.objectives.kinds import contrastive_objective
from diptych_training.train.batches.batch import Batch, Batches, Position

DRAWN_STREAM = 5  # part of the seed, distinct from those of the batches


def objective_of(config: TrainConfig) -> Contrastive:
    """The objective that a recipe names."""
    return contrastive_objective(config.objective, config.loss, config.label_smoothing)


@dataclass(frozen=True)
class DrawnBatches:
    """Batches whose captions an objective draws from: a function of seed, step and rank."""

    batches: Batches
    objective: Contrastive
    seed: int
    rank: int = 0

    def make(self, step: int) -> Batch:
        """The batch of a step, as the objective draws it."""
        batch = self.batches.make(step)
        rng = np.random.default_rng((self.seed, DRAWN_STREAM, step, self.rank))
        return replace(batch, input_ids=self.objective.draw(batch.input_ids, rng))

    def position(self, step: int) -> Position:
        """The position of the batches."""
        return self.batches.position(step)

    def numbers(self) -> dict[str, float]:
        """The metrics of the batches."""
        return self.batches.numbers()

    def close(self) -> None:
        """Stop worker processes."""
        self.batches.close()


def drawn(batches: Batches, objective: Contrastive, seed: int, rank: int) -> Batches:
    """The batches as the objective draws them; the same ones if it draws nothing."""
    return DrawnBatches(batches, objective, seed, rank) if objective.draws else batches
