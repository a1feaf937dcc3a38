"""The space that a text tower is taught: centred, reduced, of unit norm."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych_training.config import TextTeacherConfig, read_config
from diptych_training.data.wordnet.command import NOUNS
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import recipe_file
from diptych_training.train.text_teacher.teacher_texts import teacher_texts
from diptych_training.train.text_teacher.text_space import TextSpace

N, WIDTH = 300, 12


def narrow_cone(seed: int = 0, n: int = N) -> np.ndarray:
    """Embeddings in half precision that differ mostly along three axes, around a mean far from zero."""
    rng = np.random.default_rng(seed)
    scales = np.array([3.0, 2.0, 1.5] + [0.01] * (WIDTH - 3))
    rows = rng.standard_normal((n, WIDTH)) * scales + 20
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def cosines(rows: np.ndarray) -> np.ndarray:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_the_first_axes_keep_the_similarities_around_the_mean() -> None:
    embeddings = narrow_cone()
    found = TextSpace.fit(embeddings, 3).of(embeddings)
    assert (found.shape, found.dtype) == ((N, 3), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    centred = embeddings.astype(np.float64) - embeddings.astype(np.float64).mean(axis=0)
    assert np.abs(cosines(found) - cosines(centred)).mean() < 0.02
    assert np.abs(cosines(embeddings.astype(np.float64))).min() > 0.5  # a cone, before


def test_more_axes_than_numbers_are_refused() -> None:
    with pytest.raises(TrainingConfigError, match=r"text_teacher\.dims is 13: .* have 12 numbers"):
        TextSpace.fit(narrow_cone(), WIDTH + 1)


@pytest.fixture
def everyday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextTeacherConfig:
    """The text teacher of the recipe everyday, with a cache elsewhere."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "elsewhere"))
    config = read_config(recipe_file("everyday")).text_teacher
    assert config is not None
    return config


def test_nouns_that_are_missing_are_an_error_that_says_what_writes_them(
    everyday: TextTeacherConfig, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere" / "wordnet" / NOUNS
    message = rf"text_teacher.texts: {file} does not exist: `diptych-train data wordnet` writes it"
    with pytest.raises(TrainingConfigError, match=message):
        teacher_texts(everyday, [], 192, torch.device("cpu"))
