"""Labels in metadata, and zero-shot accuracy."""

import numpy as np
import pytest

from diptych.core.rollout.label_quality import accuracy, labels_in


def test_labels_are_the_text_at_the_field_or_the_texts_of_a_list() -> None:
    assert labels_in({"kind": "valve"}, ("kind",)) == ("valve",)
    assert labels_in({"kind": ["valve", 3, "pump", ""]}, ("kind",)) == ("valve", "pump")
    assert labels_in({"what": {"kind": "valve"}}, ("what", "kind")) == ("valve",)


@pytest.mark.parametrize(
    "metadata", [{}, {"kind": None}, {"kind": 3}, {"kind": ""}, {"kind": {"a": "b"}}, {"kind": "x" * 201}]
)
def test_other_values_are_no_labels(metadata: dict[str, object]) -> None:
    assert labels_in(metadata, ("kind",)) == ()
    assert labels_in(metadata, ("kind", "a", "b")) == ()


def test_accuracy_counts_images_whose_nearest_label_is_one_of_their_own() -> None:
    classes = dict(zip("abc", np.eye(3, dtype=np.float32), strict=True))
    images = np.array([[1, 0.5, 0], [0.2, 0.9, 0.1], [0, 0, 1], [0, 1, 0]], np.float32)
    assert accuracy(images, classes, [("a",), ("b", "c"), ("a",), ("unknown",)]) == pytest.approx(0.5)
