"""Logistic regression over several classes, fitted by L-BFGS."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MAX_ITERATIONS = 1000
GRADIENT_TOLERANCE = 1e-5  # of the mean loss
CHANGE_TOLERANCE = 1e-12
HISTORY = 10


@dataclass(frozen=True)
class Labelled:
    """Embeddings (N, D) and the class of each (N,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def part(self, chosen: NDArray[np.int64]) -> "Labelled":
        """The rows of these numbers."""
        return Labelled(self.features[chosen], self.labels[chosen])

    def joined(self, other: "Labelled") -> "Labelled":
        """The rows of both."""
        return Labelled(
            np.concatenate([self.features, other.features]), np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True)
class LinearClassifier:
    """Weights (C, D) and biases (C,)."""

    weight: Tensor
    bias: Tensor

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) -> (N, C) logits."""
        rows = torch.from_numpy(features).double()
        scores: NDArray[np.float32] = (rows @ self.weight.T + self.bias).float().numpy()
        return scores


def fit(
    train: Labelled, n_classes: int, l2: float, start: LinearClassifier | None = None
) -> LinearClassifier:
    """Minimise the sum of cross-entropies plus ``l2 / 2`` times the squared weights; biases are free.

    `start` is the result for another strength, from which few steps are needed. The optimum does not depend
    on it, as the problem is convex.
    """
    features = torch.from_numpy(train.features).double()
    labels = torch.from_numpy(train.labels)
    n, width = features.shape
    weight = torch.zeros(n_classes, width, dtype=torch.float64) if start is None else start.weight.clone()
    bias = torch.zeros(n_classes, dtype=torch.float64) if start is None else start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MAX_ITERATIONS,
        history_size=HISTORY,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=CHANGE_TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weight.T + bias, labels) + l2 / (2 * n) * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return LinearClassifier(weight.detach(), bias.detach())
