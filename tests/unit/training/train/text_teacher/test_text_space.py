"""The space that a text tower is taught: centred, reduced, of unit norm."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from diptych_training.errors import TrainingConfigError
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


def test_all_axes_change_no_similarity() -> None:
    embeddings = narrow_cone()
    space = TextSpace.fit(embeddings, WIDTH)
    np.testing.assert_allclose(
        cosines(space.of(embeddings)), cosines(embeddings.astype(np.float64) - space.mean), atol=1e-4
    )


def test_the_centre_can_be_other_texts() -> None:
    centre = narrow_cone(seed=1, n=5)
    space = TextSpace.fit(narrow_cone(), 4, centre)
    np.testing.assert_allclose(space.mean, centre.astype(np.float32).mean(axis=0), atol=1e-6)


def test_a_space_is_the_same_after_a_file(tmp_path: Path) -> None:
    space = TextSpace.fit(narrow_cone(), 4)
    save_file(space.tensors, tmp_path / "space.safetensors")
    again = TextSpace.from_tensors(load_file(tmp_path / "space.safetensors"))
    assert np.array_equal(again.of(narrow_cone(2)), space.of(narrow_cone(2)))


def test_more_axes_than_numbers_are_refused() -> None:
    with pytest.raises(TrainingConfigError, match=r"text_teacher\.dims is 13: .* have 12 numbers"):
        TextSpace.fit(narrow_cone(), WIDTH + 1)
