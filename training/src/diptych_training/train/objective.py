"""The objective of a recipe, what it draws from batches, and its files in a run folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych_training.checkpoint import write_atomic
from diptych_training.config import TrainConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.objectives.contrastive import Contrastive
from diptych_training.objectives.icmlm import IcmlmConfig
from diptych_training.objectives.kinds import contrastive_objective
from diptych_training.objectives.predictive import Predictive
from diptych_training.objectives.virtex import VirtexConfig
from diptych_training.objectives.words import Captions
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.batch import Batch, Batches, Position

DRAWN_STREAM = 5  # part of the seed, distinct from those of the batches


def objective_of(config: TrainConfig) -> Contrastive:
    """The objective of a recipe with two towers."""
    return contrastive_objective(config.objective, config.loss, config.label_smoothing)


def write_dictionary(folder: RunFolder, config: TrainConfig, texts: Iterable[Sequence[str]]) -> None:
    """Choose the dictionary of the recipe's objective from the texts of all items. Nothing if it needs none.

    Raises TrainingConfigError if the texts have nothing for it.
    """
    if config.predictive is None or isinstance(config.predictive, VirtexConfig | IcmlmConfig):
        return
    dictionary = config.predictive.dictionary(texts, Captions(folder.tokenizer_file, config.text))
    if not dictionary:
        raise TrainingConfigError(f"objective is {config.predictive.kind}: the captions have no word for it")
    write_atomic(folder.dictionary_file, json.dumps(dictionary, ensure_ascii=False, indent=0).encode())


@dataclass(frozen=True)
class DrawnBatches:
    """Batches with what an objective predicts of them: a function of seed, step and rank."""

    batches: Batches
    objective: Predictive
    seed: int
    rank: int = 0

    def make(self, step: int) -> Batch:
        """The batch of a step, as the objective draws it."""
        batch = self.batches.make(step)
        rng = np.random.default_rng((self.seed, DRAWN_STREAM, step, self.rank))
        texts = self.objective.targets(batch.input_ids, batch.keys[:, 1], rng)
        return replace(batch, input_ids=texts.input_ids, targets=texts.targets)

    def position(self, step: int) -> Position:
        """The position of the batches."""
        return self.batches.position(step)

    def numbers(self) -> dict[str, float]:
        """The metrics of the batches."""
        return self.batches.numbers()

    def close(self) -> None:
        """Stop worker processes."""
        self.batches.close()


def drawn(batches: Batches, objective: Contrastive | Predictive, seed: int, rank: int) -> Batches:
    """The batches as the objective needs them: with what is to be predicted, if it has no text tower."""
    return DrawnBatches(batches, objective, seed, rank) if isinstance(objective, Predictive) else batches
