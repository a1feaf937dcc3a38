"""A data set: pictures in up to three splits, the texts that describe them, and how it is scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych_training.evaluate.benchmark.data_sets.pictures import ChosenPictures, Pictures

Task = Literal["classification", "multilabel", "retrieval"]
Metric = Literal[
    "top1", "mean_per_class", "mean_top1_top5", "map_11_point", "mean_average_precision", "roc_auc"
]
Right = tuple[tuple[int, ...], ...]  # for each picture the texts that are right, its own one first


@dataclass(frozen=True)
class Split:
    """N pictures and, for each of them, the indices of the texts that are right."""

    pictures: Pictures
    right: Right

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,): the own class of each picture, where each has one."""
        return np.array([own[0] for own in self.right], dtype=np.int64)

    def relevance(self, n_texts: int) -> NDArray[np.bool_]:
        """(N, C): whether text c is right for picture n."""
        relevant = np.zeros((len(self.right), n_texts), dtype=np.bool_)
        for row, indices in enumerate(self.right):
            relevant[row, list(indices)] = True
        return relevant

    @property
    def content(self) -> str:
        """sha256 over pictures and right answers."""
        return sha256(f"{self.pictures.content}\n{self.right}".encode()).hexdigest()


@dataclass(frozen=True)
class DataSet:
    """One data set. `texts` are class names, or captions if the task is retrieval.

    `templates` belong to the data set; without any, those of the model are used. `retrieves`: its class names
    are many enough to search by. `train` and `validation` are for probes. `source` says where it came from.
    """

    name: str
    group: str
    task: Task
    metric: Metric
    texts: tuple[str, ...]
    test: Split
    templates: tuple[str, ...] = ()
    train: Split | None = None
    validation: Split | None = None
    retrieves: bool = False
    source: str = ""

    @cached_property
    def content(self) -> str:
        """sha256 over everything that decides the results, apart from the model."""
        parts: list[Sequence[str] | str | None] = [self.task, self.metric, self.texts, self.templates]
        parts += [None if split is None else split.content for split in self.splits()]
        return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def sampled(self, n: int) -> "DataSet":
        """The same with at most n test pictures, drawn by its name: the same ones for every model."""
        pictures, right = self.test.pictures, self.test.right
        if n >= len(pictures):
            return self
        rng = np.random.default_rng(int.from_bytes(sha256(self.name.encode()).digest()[:8], "big"))
        chosen = tuple(sorted(rng.permutation(len(pictures))[:n].tolist()))
        test = Split(ChosenPictures(pictures, chosen), tuple(right[index] for index in chosen))
        return replace(self, test=test)

    def splits(self) -> tuple[Split, Split | None, Split | None]:
        """Test, train, validation."""
        return self.test, self.train, self.validation
