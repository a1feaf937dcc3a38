"""Vectors in clumps, as embeddings are, and queries that lie apart from them, as words do."""

import threading
from typing import Any

import numpy as np

DIM = 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clumped(n: int, seed: int = 0, *, n_clumps: int = 60, noise: float = 0.5) -> np.ndarray:
    """Unit rows (n, DIM) around centres."""
    random = np.random.default_rng(seed)
    centres = unit(random.standard_normal((n_clumps, DIM)))[random.integers(n_clumps, size=n)]
    return unit(centres + noise * unit(random.standard_normal((n, DIM))))


def queries(n: int, seed: int = 1) -> np.ndarray:
    """Unit rows (n, DIM) that share a direction of their own."""
    random = np.random.default_rng(seed)
    return unit(unit(random.standard_normal((n, DIM))) + 0.7 * unit(np.ones((1, DIM))))


def texts() -> dict[str, np.ndarray]:
    """Queries by which an index is tuned."""
    return {"names": clumped(60, seed=5), "nouns": queries(40, seed=6)}


class HeldTexts(dict[str, np.ndarray]):
    """Queries that the thread that tunes waits for, once all rows are in lists."""

    def __init__(self) -> None:
        super().__init__(texts())
        self.asked_for, self.go_on = threading.Event(), threading.Event()

    def values(self) -> Any:
        self.asked_for.set()
        assert self.go_on.wait(30)
        return super().values()


def exact(keys: np.ndarray, rows: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """The keys of the nearest rows, equal ones by ascending key."""
    cosines = rows @ query
    return keys[np.lexsort((keys, -cosines))][:k].tolist()
