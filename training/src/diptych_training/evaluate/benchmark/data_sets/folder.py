"""A folder of images in one folder a class, with or without splits above them."""

from collections.abc import Sequence
from pathlib import Path

from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS
from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.evaluate.benchmark.data_sets.known import Known, names_of_folders, read_templates
from diptych_training.evaluate.benchmark.data_sets.pictures import FilePictures, StoredFile

SPLITS = {"test": ("test",), "validation": ("val", "valid", "validation"), "train": ("train",)}


def is_class_folder(folder: Path) -> bool:
    """Whether images lie in folders of classes, perhaps under a folder of a split."""
    return any(_class_folders(place) for place in (folder, *split_folders(folder).values()))


def split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder, for those that there are. Without test pictures, validation is the test."""
    found = {
        split: folder / name for split, names in SPLITS.items() for name in names if (folder / name).is_dir()
    }
    if "validation" in found and "test" not in found:
        found["test"] = found.pop("validation")
    return found


def class_folder_data_set(folder: Path, name: str, facts: Known | None) -> DataSet:
    """Read the names of all files; opens none. DataError if there is nothing to test on."""
    places = split_folders(folder) or {"test": folder}
    if "test" not in places:
        raise DataError(f"{folder} has pictures for training only: none to test on")
    classes = {split: _class_folders(place) for split, place in places.items()}
    keys = sorted({one.name for folders in classes.values() for one in folders})
    column = {key: index for index, key in enumerate(keys)}
    splits = {split: _split(folders, column) for split, folders in classes.items()}
    return DataSet(
        name=name,
        group="folder" if facts is None else "paper",
        task="classification",
        metric="top1" if facts is None else facts.metric,
        texts=names_of_folders(folder, keys, facts),
        templates=read_templates(folder, facts),
        test=splits["test"],
        train=splits.get("train"),
        validation=splits.get("validation"),
        source=str(folder),
    )


def _class_folders(place: Path) -> list[Path]:
    """Folders in which images lie, sorted by name."""
    return [one for one in sorted(place.iterdir()) if one.is_dir() and _images(one)]


def _images(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower().removeprefix(".") in IMAGE_ENDINGS and file.is_file()
    ]


def _split(folders: Sequence[Path], column: dict[str, int]) -> Split:
    files = [(file, column[folder.name]) for folder in folders for file in _images(folder)]
    if not files:
        raise DataError("a split has no pictures")
    return Split(
        FilePictures(tuple(StoredFile(file) for file, _ in files)), tuple((label,) for _, label in files)
    )
