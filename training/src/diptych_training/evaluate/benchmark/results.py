"""The results of one model on one data set, as a small JSON file."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from diptych_training.evaluate.benchmark.data_sets.data_set import Metric, Task
from diptych_training.files import write_text
from diptych_training.schema import Frozen

Metrics = dict[str, float]  # by name, from 0 to 1
Prompts = Literal["name", "one_template", "ensemble"]  # the class name alone, in one template, in all


class Confused(Frozen):
    """A picture whose wrong class beats the right one: its number in the test split, and the two classes."""

    picture: int
    right: str
    given: str
    probability: float


class Recalls(Frozen):
    """Recall@k in both directions, by k."""

    text_to_image: dict[int, float]
    image_to_text: dict[int, float]


class Probe(Frozen):
    """A logistic regression on all training pictures: its metrics, and the strength of regularisation."""

    metrics: Metrics
    l2: float
    n_train: int
    n_validation: int


class FewShot(Frozen):
    """A probe on a few pictures of each class, drawn with a seed: its score by the data set's own metric."""

    shots: int
    seed: int
    score: float
    l2: float


class Result(Frozen):
    """One model on one data set.

    `identity` is of the model, `content` of the data set, `settings` of how it was measured: a result with
    the same three need not be measured again. `zero_shot` is empty for captions. `n_unknown` of the texts are
    names that the model cannot score: their pictures count as wrong.
    """

    schema_version: Literal[1] = 1
    model: str
    identity: str
    runtime: str
    data_set: str
    group: str
    task: Task
    content: str
    settings: str
    n_images: int
    n_texts: int
    n_unknown: int = 0
    metric: Metric
    templates: tuple[str, ...]
    zero_shot: dict[Prompts, Metrics] = Field(default={})
    probe: Probe | None = None
    few_shot: tuple[FewShot, ...] = ()
    retrieval: Recalls | None = None
    confusions: tuple[Confused, ...] = ()

    def score(self, prompts: Prompts = "ensemble") -> float | None:
        """Zero-shot by the data set's own metric; None for captions."""
        return self.zero_shot[prompts][self.metric] if prompts in self.zero_shot else None


def result_file(folder: Path, model: str, data_set: str) -> Path:
    """The file of one result."""
    return folder / slug(model) / f"{slug(data_set)}.json"


def write_result(file: Path, result: Result) -> None:
    """Write a result atomically."""
    write_text(file, result.model_dump_json(indent=1) + "\n")


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")
