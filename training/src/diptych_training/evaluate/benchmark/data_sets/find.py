"""Find the data sets that a name or a path stands for: packed ones, folders, pairs, scikit-learn's digits."""

import re
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from diptych_training.data.packed import INDEX_FILE, hash_fraction, read_dataset
from diptych_training.data.pairs.pair import Pair
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.errors import DataError, EvaluationError
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.evaluate.benchmark.data_sets.folder import class_folder_data_set, is_class_folder
from diptych_training.evaluate.benchmark.data_sets.known import Known, all_known, known, require_known
from diptych_training.evaluate.benchmark.data_sets.pictograms import packed_data_sets
from diptych_training.evaluate.benchmark.data_sets.pictures import PairPictures, PixelPictures
from diptych_training.evaluate.benchmark.data_sets.web_dataset import is_web_dataset, web_data_set

NAME = "digits"
N_GREYS = 16
SIDE_PX = 64  # enlarged without smoothing: a model's own resize would blur the 8 x 8 pixels


def digits() -> DataSet:
    """Black on white; half for training, a tenth for validation. DataError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  an extra
    except ImportError:
        raise DataError(f"{NAME} are in scikit-learn, which comes with the extra `import`") from None
    bunch = load_digits()
    scale = SIDE_PX // bunch.images.shape[1]
    greys = 255 - np.rint(bunch.images * 255 / N_GREYS).astype(np.uint8)  # (N, 8, 8)
    large = greys.repeat(scale, axis=1).repeat(scale, axis=2)
    images = np.repeat(large[..., None], 3, axis=3)
    fractions = np.array([hash_fraction(f"{NAME} {number}") for number in range(len(images))])
    facts = require_known(NAME)

    def split(chosen: np.ndarray) -> Split:
        return Split(PixelPictures(images[chosen]), tuple((int(label),) for label in bunch.target[chosen]))

    return DataSet(
        name=NAME,
        group=NAME,
        task="classification",
        metric=facts.metric,
        texts=facts.classes,
        templates=facts.templates,
        test=split(fractions >= 0.6),
        train=split(fractions < 0.5),
        validation=split((fractions >= 0.5) & (fractions < 0.6)),
        source="scikit-learn's load_digits",
    )


def pairs_data_set(path: str, name: str, facts: Known | None) -> DataSet:
    """Read all texts. If each picture has a label, the labels are classes; else its captions are searched.

    DataError naming an entry that cannot be used.
    """
    shards = tuple(SourceReader().shards([path]))
    texts_of = []
    for shard in shards:
        for entry in shard.entries(with_images=False):
            if not isinstance(entry, Pair):
                raise DataError(f"{entry.name}: {entry.reason}")
            texts_of.append(entry.texts)
    labels = [texts.label for texts in texts_of if texts.label is not None]
    is_labelled = len(labels) == len(texts_of)
    own = [[texts.label] if is_labelled else list(texts.all()) for texts in texts_of]
    texts = sorted({text for some in own for text in some if text is not None})
    column = {text: index for index, text in enumerate(texts)}
    right = tuple(tuple(column[text] for text in some if text is not None) for some in own)
    return DataSet(
        name=name,
        group="folder" if facts is None else "paper",
        task="classification" if is_labelled else "retrieval",
        metric=facts.metric if facts is not None and is_labelled else "top1",
        texts=tuple(texts),
        templates=facts.templates if facts is not None and is_labelled else (),
        test=Split(PairPictures(shards, len(texts_of)), right),
        retrieves=True,
        source=path,
    )


PACKED = "pictograms"  # the sources of `--data`


def default_names() -> tuple[str, ...]:
    """The data sets that are measured by default; digits only where scikit-learn is installed."""
    return (PACKED, NAME) if find_spec("sklearn") is not None else (PACKED,)


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
    if given == NAME:
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
        names = ", ".join([PACKED, NAME, *all_known()])
        raise DataError(f"--on {given}: {error}; data sets that are known by name: {names}") from error
