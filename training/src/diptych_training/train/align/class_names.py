"""The names of a classifier's classes, in the order of its outputs."""

from importlib import import_module
from typing import Any

from diptych_training.config.start import IMAGENET
from diptych_training.errors import ImportFailed, TrainingConfigError
from diptych_training.paths import expanded


def class_names(source: str) -> list[str]:
    """`imagenet`: its 1,000 names as CLIP's authors wrote them, from open_clip; else a file, a name a line.

    Raises TrainingConfigError if the file cannot be read or lacks a name, ImportFailed without open_clip.
    """
    if source == IMAGENET:
        try:
            zero_shot: Any = import_module("open_clip.zero_shot_metadata")  # of an extra
        except ImportError as error:
            raise ImportFailed(
                "start_image.classes: the names of ImageNet come with open_clip: "
                "pip install 'diptych-training[import]'"
            ) from error
        return list(zero_shot.IMAGENET_CLASSNAMES)
    try:
        names = expanded(source).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"start_image.classes: {source} cannot be read: {error}") from error
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise TrainingConfigError(f"start_image.classes: {source} has no names")
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise TrainingConfigError(f"start_image.classes: {source} has no name in line {number}")
    return [name.strip() for name in names]
