"""The gate between photographs and drawings, fitted without a photograph.

Features of photographs are made up from what the classifier remembers of its training: the last batch
normalisation has the mean and deviation of each feature over ImageNet, and a class's row of the classifier
has the direction in which its photographs differ from that mean. Drawings are real, scaled as a server scales
them. Shaded ones resemble photographs, and neither half knows all of them: they are to be `SHADED` of a
photograph, so that both halves count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.encoder import Pixels
from diptych.bundle.manifest import ImageSpec
from diptych_training.config import AugmentConfig
from diptych_training.data.augment import shade
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.logistic import Labelled, fit
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.proof_set.samples import draw_sample
from diptych_training.progress import each

N_DRAWN = 4_000  # values of a normal distribution that stand for it
STRENGTH = 4.0  # of a class's direction; 2 to 8 give the same gate
NOISE = 0.3  # deviation of each feature, as a share of its mean
L2 = 4_000.0  # strong: the gate must hold for photographs that are unlike the made-up ones
DRAWING, PHOTOGRAPH = 0, 1
MAX_ACTIVATION = 6.0  # of ReLU6
N_FLAT, N_SHADED = 2_000, 200  # drawings, about as many from every source
ONE_IN = 5  # times that a shaded drawing counts, it counts once as a photograph
SHADING = AugmentConfig(shade=0.8)
FLAT_STYLE, SHADED_STYLE = "flat", "shaded"  # names of sources of clip art begin so
BATCH_SIZE = 32

Features = NDArray[np.float32]
Pooled = Callable[[Tensor], Tensor]  # (B, 3, S, S) in [0, 1] -> (B, C)


@dataclass(frozen=True)
class Classifier:
    """A classifier: gain and bias (C,) of its last batch normalisation, and its rows (K, C)."""

    gain: Tensor
    bias: Tensor
    rows: Tensor


@dataclass(frozen=True)
class DrawingFeatures:
    """Pooled features of flat drawings (N, C) and of shaded ones (M, C)."""

    flat: Features
    shaded: Features


def fit_gate(drawings: DrawingFeatures, classifier: Classifier, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weight (1, C) and bias (1,) of the logit that an image is a photograph."""
    shaded = np.repeat(drawings.shaded, ONE_IN, axis=0)
    rows = np.concatenate([drawings.flat, shaded])
    drawn = np.full(len(rows), DRAWING, dtype=np.int64)
    drawn[len(drawings.flat) :: ONE_IN] = PHOTOGRAPH
    made_up = _photographs(len(rows), classifier, np.random.default_rng(seed))
    labels = np.concatenate([drawn, np.full(len(made_up), PHOTOGRAPH, dtype=np.int64)])
    found = fit(Labelled(np.concatenate([rows, made_up]), labels), 2, L2)
    weight, bias = (part[PHOTOGRAPH] - part[DRAWING] for part in (found.weight, found.bias))
    return weight.float().unsqueeze(0), bias.float().unsqueeze(0)


def drawing_features(
    dataset: PackedDataset, clip_art: PackedDataset | None, spec: ImageSpec, pooled: Pooled
) -> DrawingFeatures:
    """Features of the drawings of `dataset` and of `clip_art`, and of shaded ones.

    Shaded are the emoji of `dataset`, or else all of its drawings, with synthetic shading; and clip art with
    gradients, at its own size and as small as those of `dataset`: a sharp picture is not yet a photograph.

    Raises DataError if `clip_art` has no shaded drawings, or no flat ones.
    """
    emoji = dict(dataset.listed("train", "emoji"))
    to_shade = _drawn(replace(dataset, entries=emoji or dataset.entries), N_SHADED)
    generator = torch.Generator().manual_seed(0)
    flat = [_features(_drawn(dataset, N_FLAT), spec, pooled)]
    shaded = [_features(to_shade, spec, pooled, lambda images: shade(images, SHADING, generator))]
    if clip_art is not None:
        flat.append(_features(_drawn(_of_style(clip_art, FLAT_STYLE), N_FLAT // 2), spec, pooled))
        large = _drawn(_of_style(clip_art, SHADED_STYLE), N_SHADED)
        small = fit_pixels(large, spec.model_copy(update={"size": dataset.image_size}))
        shaded += [_features(pixels, spec, pooled) for pixels in (large, small)]
    return DrawingFeatures(np.concatenate(flat), np.concatenate(shaded))


def _of_style(clip_art: PackedDataset, style: str) -> PackedDataset:
    named = {name: one for name, one in clip_art.listed("train") if name.startswith(style)}
    if not named:
        raise DataError(
            f"start_image.clip_art: {clip_art.path} has no source for training whose name begins with "
            f"{style!r}: `diptych-train data clip-art` writes such a data set"
        )
    return replace(clip_art, entries=named)


def _drawn(dataset: PackedDataset, n: int) -> Pixels:
    return draw_sample(dataset, n, splits=("train",)).images  # (N, s, s, 3)


def _features(
    pixels: Pixels,
    spec: ImageSpec,
    pooled: Pooled,
    change: Callable[[Tensor], Tensor] = lambda images: images,
) -> Features:
    rows = []
    with torch.inference_mode():
        for start in each(range(0, len(pixels), BATCH_SIZE), desc="features for the gate", unit="part"):
            seen = torch.from_numpy(fit_pixels(pixels[start : start + BATCH_SIZE], spec).copy())
            images = change(seen.permute(0, 3, 1, 2).float().div_(255))
            rows.append(pooled(images).numpy())
    return np.concatenate(rows)


def _photographs(n: int, classifier: Classifier, rng: np.random.Generator) -> Features:
    """(n, C): the mean feature of ImageNet, moved in the direction of a random class, with noise."""
    normal = torch.from_numpy(rng.standard_normal((N_DRAWN, 1), dtype=np.float32))
    spread = classifier.bias + classifier.gain.abs() * normal  # (N_DRAWN, C)
    mean = spread.clamp(0, MAX_ACTIVATION).mean(dim=0).numpy()
    rows = (classifier.rows - classifier.rows.mean(dim=0)).numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    noise = rng.standard_normal((n, len(mean)), dtype=np.float32)
    moved = mean + STRENGTH * rows[rng.integers(len(rows), size=n)] + NOISE * mean * noise
    return np.maximum(moved, 0, dtype=np.float32)
