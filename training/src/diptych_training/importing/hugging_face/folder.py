"""What the files of a checkpoint folder say before anything is loaded; imports no library."""

import json
from pathlib import Path
from typing import Any

from diptych_training.errors import ImportFailed

CONFIG_FILE = "config.json"
# The library looks for image settings in the second file, and in the first one under `image_processor`.
PROCESSOR_FILE, IMAGE_PROCESSOR_FILE = "processor_config.json", "preprocessor_config.json"


def is_hugging_face(folder: Path) -> bool:
    """True if the folder holds a `config.json` that names a `model_type`, whatever that is."""
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        return False
    try:
        return isinstance(read_json(config_file).get("model_type"), str)
    except ImportFailed:
        return False


def model_type_of(folder: Path) -> str:
    """The `model_type` of a folder's config.json. Raises ImportFailed."""
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        raise ImportFailed(f"{folder.name} has no {CONFIG_FILE}: it is no checkpoint of transformers")
    model_type = read_json(config_file).get("model_type")
    if not isinstance(model_type, str):
        raise ImportFailed(f"{folder.name}/{CONFIG_FILE} names no model_type, found {model_type!r}")
    return model_type


def says_how_to_prepare_images(folder: Path) -> bool:
    """True if the checkpoint brings an image processor's settings. Raises ImportFailed for broken JSON."""
    if (folder / IMAGE_PROCESSOR_FILE).is_file():
        return True
    processor_file = folder / PROCESSOR_FILE
    return processor_file.is_file() and "image_processor" in read_json(processor_file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises ImportFailed naming the file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailed(f"{file.name} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ImportFailed(f"{file.name} must be a JSON object, found {type(content).__name__}")
    return content
