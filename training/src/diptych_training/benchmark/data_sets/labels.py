"""Class names and templates that lie beside a data set's pictures, in CLIP_benchmark's layout."""

import re
from collections.abc import Sequence
from pathlib import Path

from diptych_training.benchmark.data_sets.known import Known
from diptych_training.errors import DataError

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
    """The templates beside the data, or else those that are known; DataError for one without a place."""
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
    """Names of classes that are numbered from 0: from the file beside the data, or known ones."""
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

    From the file beside the data, whose lines are in the order of the sorted folders; or known ones, if
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
