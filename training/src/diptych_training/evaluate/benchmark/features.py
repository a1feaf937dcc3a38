"""Embeddings of a split's pictures, kept under the identities of model and pictures; scores of names."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from diptych.bundle.encoder import Embeddings
from diptych_training.evaluate.benchmark.data_sets.pictures import Pictures
from diptych_training.evaluate.embedding import Advance
from diptych_training.evaluate.evaluated_model import EvaluatedModel, ScoredModel
from diptych_training.evaluate.scoring import Scores, ignore
from diptych_training.files import open_atomic


class FeatureCache:
    """Embeds pictures, or reads what an earlier call embedded."""

    def __init__(self, folder: Path, batch_size: int, advance: Advance) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._advance = advance

    def images(self, model: EvaluatedModel | ScoredModel, pictures: Pictures) -> Embeddings:
        """N pictures -> (N, D) float32 of unit norm."""
        key = sha256(f"{model.identity}\n{pictures.content}".encode()).hexdigest()
        file = self._folder / key[:2] / f"{key}.npy"
        rows = self._read(file, len(pictures))
        if rows is None:
            rows = self._embed(model, pictures)
            with open_atomic(file) as out:
                np.save(out, rows, allow_pickle=False)
        else:
            self._advance(len(pictures))
        return rows

    def scores(
        self,
        model: ScoredModel,
        pictures: Pictures,
        names: Sequence[str],
        templates: Sequence[Sequence[str]],
        *,
        is_counted: bool,
    ) -> list[Scores]:
        """N pictures -> (N, C) scores of C names in each set of templates. They are not kept.

        `is_counted`: `images` does not count the same pictures.
        """
        return model.scorer.score_batches(
            pictures.batches(model.image_spec, self._batch_size),
            [(names, some) for some in templates],
            advance=self._advance if is_counted else ignore,
        )

    def _embed(self, model: EvaluatedModel | ScoredModel, pictures: Pictures) -> Embeddings:
        rows = []
        for pixels in pictures.batches(model.image_spec, self._batch_size):
            rows.append(model.encoder.encode_image(pixels))
            self._advance(len(pixels))
        return np.concatenate(rows)

    @staticmethod
    def _read(file: Path, n: int) -> Embeddings | None:
        """The stored rows; None if there are none, or if the file is damaged."""
        try:
            rows: Embeddings = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return rows if len(rows) == n else None
