"""What is known of data sets by name: class names, templates and metric; the file lists the paper's."""

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, TypeAdapter

from diptych_training.benchmark.data_sets.data_set import Metric

FILE = "known.toml"


class Known(BaseModel):
    """Facts of one data set. `classes` are in the order of its label numbers.

    Without classes, they are read from a file beside the data, or from the names of its folders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    metric: Metric = "top1"
    n_classes: int | None = None
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def known(name: str) -> Known | None:
    """The facts of a data set, if the list has them."""
    return all_known().get(name)


def require_known(name: str) -> Known:
    """The facts of a data set that the list is sure to have."""
    return all_known()[name]


@cache
def all_known() -> dict[str, Known]:
    """Name -> facts, in the order of the list."""
    text = files("diptych_training.benchmark.data_sets").joinpath(FILE).read_text("utf-8")
    return TypeAdapter(dict[str, Known]).validate_python(tomllib.loads(text))
