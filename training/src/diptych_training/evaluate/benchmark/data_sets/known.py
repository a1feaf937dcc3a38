"""Class names, templates and metric of a data set: known by its name, or in files next to its pictures.

The list has the data sets of the paper; the files are in CLIP_benchmark's layout.
"""

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.data_sets.data_set import Metric

FILE = "known.toml"


class Known(BaseModel):
    """Facts of one data set. `classes` are in the order of its label numbers.

    Without classes, they are read from a file next to the data, or from the names of its folders.
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
    text = files("diptych_training.evaluate.benchmark.data_sets").joinpath(FILE).read_text("utf-8")
    return TypeAdapter(dict[str, Known]).validate_python(tomllib.loads(text))


CLASSES_FILE = "classnames.txt"
TEMPLATE_FILES = ("zeroshot_classification_templates.txt", "templates.txt")
TYPE_FILE = "dataset_type.txt"
PLACE = "{}"
OTHER_PLACE = "{c}"  # as CLIP_benchmark writes it


def read_lines(file: Path) -> tuple[str, ...]:
    """The lines of a text file, without space around them; none if there is no file."""
    if not file.is_file():
        return ()
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines())


def read_templates(folder: Path, facts: Known | None) -> tuple[str, ...]:
    """The templates next to the data, or else those that are known; DataError for one without a place."""
    for name in TEMPLATE_FILES:
        lines = [line.replace(OTHER_PLACE, PLACE) for line in read_lines(folder / name) if line]
        for line in lines:
            if PLACE not in line:
                raise DataError(
                    f"{folder / name}: {line!r} has no {PLACE} or {OTHER_PLACE} for the class name"
                )
        if lines:
            return tuple(lines)
    return () if facts is None else facts.templates


def names_by_number(folder: Path, n_classes: int, facts: Known | None) -> tuple[str, ...]:
    """Names of classes that are numbered from 0: from the file next to the data, or known ones."""
    names = read_lines(folder / CLASSES_FILE) or (() if facts is None else facts.classes)
    if not names:
        raise DataError(
            f"{folder}: labels are numbers, so that {CLASSES_FILE} must name the classes, one a line"
        )
    if len(names) < n_classes:
        raise DataError(f"{folder}: {len(names)} class names, but a label is {n_classes - 1}")
    return names


def names_of_folders(folder: Path, keys: Sequence[str], facts: Known | None) -> tuple[str, ...]:
    """Names of classes that are folders, in the order of `keys`.

    From the file next to the data, whose lines are in the order of the sorted folders; or known ones, if
    folders are called alike or numbered; or else the names of the folders themselves.
    """
    lines = read_lines(folder / CLASSES_FILE)
    if lines:
        if len(lines) != len(keys):
            raise DataError(
                f"{folder / CLASSES_FILE} names {len(lines)} classes, there are {len(keys)} folders"
            )
        return lines
    if facts is not None and facts.classes:
        if all(key.isdecimal() and int(key) < len(facts.classes) for key in keys):
            return tuple(facts.classes[int(key)] for key in keys)
        alike = {_bare(name): name for name in facts.classes}
        if all(_bare(key) in alike for key in keys):
            return tuple(alike[_bare(key)] for key in keys)
    return tuple(key.replace("_", " ") for key in keys)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
