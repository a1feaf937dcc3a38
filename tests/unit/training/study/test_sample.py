"""Samples of held-out sources are the same for every model."""

import numpy as np
import pytest

from diptych_training.data.packed import PackedDataset
from diptych_training.study.measure import sampled, sampled_sources
from support.tiny_run import write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=40)


def test_a_sample_has_pictures_of_its_names_alone_and_does_not_change(dataset):
    source = dataset.source("new-set")
    one, again = (sampled(source, 10, 6) for _ in range(2))
    assert (len(one.classes), len(one.images), len(one.accepted)) == (10, 6, 6)
    assert all(labels & set(one.classes) for labels in one.accepted)
    assert one.classes == again.classes
    np.testing.assert_array_equal(one.images, again.images)
    label_of = {image.tobytes(): item.label for image, item in zip(source.images, source.items, strict=True)}
    assert all(
        label_of[image.tobytes()] in labels for image, labels in zip(one.images, one.accepted, strict=True)
    )


def test_small_sources_are_taken_whole(dataset):
    found = {one.name: one for one in sampled_sources(dataset, "eval", 100, 1_000)}
    assert {name: len(one.images) for name, one in found.items()} == {"new-style": 10, "new-set": 40}
    assert len(found["new-set"].classes) == 40
