"""The gate between photographs and drawings, fitted without a photograph.

Features of photographs are made up from what the classifier remembers of its training: the last batch
normalisation has the mean and deviation of each feature over ImageNet, and a class's row of the classifier
has the direction in which its photographs differ from that mean. Drawings are real.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych_training.benchmark.probe.logistic import Labelled, fit

N_DRAWN = 4_000  # values of a normal distribution that stand for it
STRENGTH = 4.0  # of a class's direction; 2 to 8 give the same gate
NOISE = 0.3  # deviation of each feature, as a share of its mean
L2 = 2_000.0  # strong: the gate must hold for photographs that are unlike the made-up ones
DRAWING, PHOTOGRAPH = 0, 1
MAX_ACTIVATION = 6.0  # of ReLU6


@dataclass(frozen=True)
class Classifier:
    """What is needed of a classifier: gain and bias (C,) of its last batch normalisation, rows (K, C)."""

    gain: Tensor
    bias: Tensor
    rows: Tensor


def fit_gate(drawings: NDArray[np.float32], classifier: Classifier, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, C) pooled features of drawings -> weight (1, C) and bias (1,) of the logit that an image is a
    photograph.
    """
    made_up = _photographs(len(drawings), classifier, np.random.default_rng(seed))
    labels = np.repeat([DRAWING, PHOTOGRAPH], len(drawings)).astype(np.int64)
    found = fit(Labelled(np.concatenate([drawings, made_up]), labels), 2, L2)
    weight, bias = (part[PHOTOGRAPH] - part[DRAWING] for part in (found.weight, found.bias))
    return weight.float().unsqueeze(0), bias.float().unsqueeze(0)


def _photographs(n: int, classifier: Classifier, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, C): the mean feature of ImageNet, moved in the direction of a random class, with noise."""
    normal = torch.from_numpy(rng.standard_normal((N_DRAWN, 1), dtype=np.float32))
    spread = classifier.bias + classifier.gain.abs() * normal  # (N_DRAWN, C)
    mean = spread.clamp(0, MAX_ACTIVATION).mean(dim=0).numpy()
    rows = (classifier.rows - classifier.rows.mean(dim=0)).numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    noise = rng.standard_normal((n, len(mean)), dtype=np.float32)
    moved = mean + STRENGTH * rows[rng.integers(len(rows), size=n)] + NOISE * mean * noise
    return np.maximum(moved, 0, dtype=np.float32)
