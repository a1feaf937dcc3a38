"""The gate between photographs and drawings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import (
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    write_index,
    write_source,
)
from diptych_training.errors import DataError
from diptych_training.train.align.gate import Classifier, DrawingFeatures, drawing_features, fit_gate
from support.small_recipe import small_recipe

SIZE, N_FEATURES, N_CLASSES = 16, 40, 12
SPEC: ImageSpec = small_recipe().preprocess.model_copy(update={"size": 2 * SIZE})


@pytest.fixture
def classifier() -> Classifier:
    generator = torch.Generator().manual_seed(0)
    return Classifier(
        gain=torch.rand(N_FEATURES, generator=generator) + 0.5,
        bias=torch.randn(N_FEATURES, generator=generator),
        rows=torch.randn(N_CLASSES, N_FEATURES, generator=generator),
    )


def flat(n: int, seed: int) -> np.ndarray:
    """Few features are active, strongly."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, N_FEATURES)) < 0.1).astype(np.float32) * 3


def shaded(n: int, seed: int) -> np.ndarray:
    """Flat, and half of the features are active as those of photographs."""
    rng = np.random.default_rng(seed)
    features = flat(n, seed)
    features[:, ::2] += np.abs(rng.standard_normal((n, N_FEATURES // 2), dtype=np.float32))
    return features


def test_flat_drawings_and_photographs_are_told_apart_and_shaded_ones_lie_between(
    classifier: Classifier,
) -> None:
    weight, bias = fit_gate(DrawingFeatures(flat(2_000, 1), shaded(400, 1)), classifier)
    rng = np.random.default_rng(2)
    normal = rng.standard_normal((200, N_FEATURES), dtype=np.float32)
    photographs = np.clip(classifier.bias.numpy() + classifier.gain.numpy() * normal, 0, 6)

    def weights(features: np.ndarray) -> Tensor:
        return torch.sigmoid(torch.from_numpy(features) @ weight[0] + bias)

    assert (weights(photographs) > 0.5).float().mean() > 0.9
    assert (weights(flat(200, 3)) < 0.5).float().mean() > 0.8
    assert weights(flat(200, 3)).median() < weights(shaded(200, 3)).median() < 0.5


def data_set(folder: Path, size: int, *sources: tuple[str, Kind, int, int]) -> PackedDataset:
    """Sources by name, kind, number of images and the level of all their pixels."""
    entries = {}
    for name, kind, n, level in sources:
        images = np.full((n, size, size, 3), level, np.uint8)
        write_source(folder, "train", name, images, [PackedItem(str(at), "cat") for at in range(n)])
        entries[name] = SourceEntry("train", kind, n, "CC0-1.0", "nobody", "")
    dataset = PackedDataset(folder, "drawn", size, entries)
    write_index(dataset)
    return dataset


def mean_and_size(images: Tensor) -> Tensor:
    """(B, 3, S, S) -> (B, 2): the largest level, and the side."""
    side = torch.full((len(images),), float(images.shape[-1]))
    return torch.stack([images.amax(dim=(1, 2, 3)), side], dim=1)


def test_emoji_are_shaded_and_clip_art_counts_at_two_sizes(tmp_path: Path) -> None:
    dataset = data_set(tmp_path / "own", SIZE, ("noto", "emoji", 5, 128), ("tabler", "icons", 7, 0))
    clip_art = data_set(tmp_path / "art", 2 * SIZE, ("flat-a", "pairs", 3, 50), ("shaded-a", "pairs", 4, 200))
    found = drawing_features(dataset, clip_art, SPEC, mean_and_size)
    assert sorted(np.rint(255 * found.flat[:, 0]).astype(int)) == [0] * 7 + [50] * 3 + [128] * 5
    shaded = np.rint(255 * found.shaded[:, 0]).astype(int)
    assert (shaded[5:] == 200).all()
    assert len(shaded) == 5 + 2 * 4
    assert len(set(shaded[:5])) > 1  # each by its own light
    assert (found.shaded[:, 1] == SPEC.size).all()


def test_without_emoji_and_clip_art_all_drawings_are_shaded(tmp_path: Path) -> None:
    dataset = data_set(tmp_path / "own", SIZE, ("tabler", "icons", 7, 0))
    assert len(drawing_features(dataset, None, SPEC, mean_and_size).shaded) == 7


def test_clip_art_without_shaded_drawings_is_refused(tmp_path: Path) -> None:
    dataset = data_set(tmp_path / "own", SIZE, ("tabler", "icons", 7, 0))
    other = replace(dataset, path=tmp_path / "own")
    with pytest.raises(DataError, match=r"start_image.clip_art: .* no source .* with 'flat': `diptych-"):
        drawing_features(dataset, other, SPEC, mean_and_size)
