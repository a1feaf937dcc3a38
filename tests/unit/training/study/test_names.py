"""How names are scored, and the figures of a series of models."""

import math

import numpy as np
import pytest

from diptych_training.study.name_scores import reference_pictures, relative
from diptych_training.study.names import name_losses
from support.tiny_run import write_tiny_dataset

UNKNOWN = -math.inf


def test_scores_relative_to_training_pictures_do_not_favour_short_or_frequent_names():
    """The second picture makes the long name likelier than usual, but less likely than the short one."""
    raw = np.array([[-1.0, -9.0, UNKNOWN], [-1.5, -6.0, UNKNOWN]], dtype=np.float32)
    usual = np.array([[-1.0, -8.0, UNKNOWN], [-2.0, -10.0, UNKNOWN]], dtype=np.float32)
    found = relative(raw, usual)
    assert raw.argmax(axis=1).tolist() == [0, 0]
    assert found.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(found, [[0.5, 0.0, UNKNOWN], [0.0, 3.0, UNKNOWN]])


def test_reference_pictures_are_of_all_training_sources(tmp_path):
    dataset = write_tiny_dataset(tmp_path, n_icons=12)
    found = {picture.tobytes() for picture in reference_pictures(dataset, 8)}
    assert len(found) <= 8
    for source in dataset.sources("train"):
        assert found & {image.tobytes() for image in source.images}
    assert not found & {image.tobytes() for source in dataset.sources("eval") for image in source.images}


def test_cross_entropy_is_of_all_right_names_together():
    scores = np.log(np.array([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]], dtype=np.float32)) / 10
    relevant = np.array([[True, False, False], [True, True, False]])
    assert name_losses(scores, relevant, 10.0) == pytest.approx([-math.log(0.5)] * 2, rel=1e-5)
