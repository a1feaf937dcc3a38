"""Find the data sets that a name or a path stands for."""

import re
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from diptych_training.benchmark.data_sets.data_set import DataSet
from diptych_training.benchmark.data_sets.digits import NAME as DIGITS
from diptych_training.benchmark.data_sets.digits import digits
from diptych_training.benchmark.data_sets.folder import class_folder_data_set, is_class_folder
from diptych_training.benchmark.data_sets.known import all_known, known
from diptych_training.benchmark.data_sets.pairs import pairs_data_set
from diptych_training.benchmark.data_sets.pictograms import packed_data_sets
from diptych_training.benchmark.data_sets.web_dataset import is_web_dataset, web_data_set
from diptych_training.data.packed import INDEX_FILE, read_dataset
from diptych_training.errors import DataError, EvaluationError

PACKED = "pictograms"  # the sources of `--data`


def default_names() -> tuple[str, ...]:
    """What is measured unless named otherwise: digits only where scikit-learn is installed."""
    return (PACKED, DIGITS) if find_spec("sklearn") is not None else (PACKED,)


def find_data_sets(named: Iterable[str], packed: Path, split: str) -> list[DataSet]:
    """The data sets of all names. EvaluationError if two are called alike, DataError if one is unreadable."""
    found = [one for name in named for one in _find(name, packed, split)]
    twice = [name for name, n in Counter(one.name for one in found).items() if n > 1]
    if twice:
        raise EvaluationError(
            f"two data sets are called {twice[0]!r}: give one another name, as in NAME=FOLDER"
        )
    return found


def _find(given: str, packed: Path, split: str) -> list[DataSet]:
    if given == PACKED:
        return packed_data_sets(read_dataset(packed), split)
    if given == DIGITS:
        return [digits()]
    name, _, path = given.rpartition("=")
    place = Path(path).expanduser()
    if not name and known(path) is not None and not place.exists():
        raise EvaluationError(f"{path}: where are its files? Name their folder, as in {path}=FOLDER")
    name = name or re.sub(r"\W+", "-", place.name.partition(".")[0]).strip("-") or "folder"
    facts = known(name)
    if (place / INDEX_FILE).is_file():
        return packed_data_sets(read_dataset(place), split)
    if place.is_dir() and is_web_dataset(place):
        return [web_data_set(place, name, facts)]
    if place.is_dir() and is_class_folder(place):
        return [class_folder_data_set(place, name, facts)]
    try:
        return [pairs_data_set(path, name, facts)]
    except DataError as error:
        names = ", ".join([PACKED, DIGITS, *all_known()])
        raise DataError(f"--on {given}: {error}; data sets that are known by name: {names}") from error
