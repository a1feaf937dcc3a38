"""How the benchmark of the gate weighs both halves of a picture."""

import numpy as np

from benchmarks.gate import Seen, first_hits, joined, right

HALVES = np.eye(2, dtype=np.float32)
SEEN = Seen(HALVES, HALVES[::-1].copy(), HALVES, np.array([0.5, 1], dtype=np.float32), ["cat", "dog"])
TEXTS = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=np.float32) / np.sqrt(2, dtype=np.float32)


def test_a_weight_of_one_is_the_photographs_half_alone():
    assert SEEN.mixed(np.ones(2, np.float32))[:, 2:].tolist() == [[0, 0], [0, 0]]
    assert SEEN.mixed(np.zeros(2, np.float32))[:, :2].tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(np.linalg.norm(SEEN.mixed(SEEN.gate), axis=1), 1, rtol=1e-6)


def test_pictures_are_right_by_their_own_name_and_names_by_their_first_picture():
    rows = SEEN.mixed(SEEN.gate)
    assert right(TEXTS, ["cat", "dog"], rows, ["cat", "cat"]).tolist() == [True, False]
    assert first_hits(TEXTS, ["cat", "dog"], rows, ["cat", "dog"]) == 1
    assert joined(SEEN, SEEN).names == ["cat", "dog", "cat", "dog"]
