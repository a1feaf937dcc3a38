"""Objects of transformers, and the JSON files of a checkpoint folder, which are read without the library.

The type aliases are `Any`: the attributes of these objects are created at run time.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from transformers.utils import logging

from diptych_training.errors import ImportFailed

CONFIG_FILE = "config.json"
# transformers reads image settings from the second file, or from `image_processor` in the first.
PROCESSOR_FILE, IMAGE_PROCESSOR_FILE = "processor_config.json", "preprocessor_config.json"


def is_hugging_face(folder: Path) -> bool:
    """True if the folder holds a `config.json` with any `model_type`."""
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
        raise ImportFailed(f"{folder.name} has no {CONFIG_FILE}: it is not a checkpoint of transformers")
    model_type = read_json(config_file).get("model_type")
    if not isinstance(model_type, str):
        raise ImportFailed(f"{folder.name}/{CONFIG_FILE} names no model_type, found {model_type!r}")
    return model_type


def says_how_to_prepare_images(folder: Path) -> bool:
    """True if the checkpoint holds image processor settings. Raises ImportFailed for invalid JSON."""
    if (folder / IMAGE_PROCESSOR_FILE).is_file():
        return True
    processor_file = folder / PROCESSOR_FILE
    return processor_file.is_file() and "image_processor" in read_json(processor_file)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ImportFailed naming the file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailed(f"{file.name} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ImportFailed(f"{file.name} must be a JSON object, found {type(content).__name__}")
    return content


DualEncoder: TypeAlias = Any  # a `PreTrainedModel` with both towers and their two `get_..._features`
ImageProcessor: TypeAlias = Any  # a `PilBackend`: each setting is an attribute
ModelConfig: TypeAlias = Any  # a `PreTrainedConfig`: each key is an attribute
LibraryTokenizer: TypeAlias = Any  # a `PreTrainedTokenizerBase`


library_log: Any = logging  # untyped


@contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the library's logs and progress bars; our code raises an error for what matters in them."""
    verbosity, bars = library_log.get_verbosity(), library_log.is_progress_bar_enabled()
    library_log.set_verbosity_error()
    library_log.disable_progress_bar()
    try:
        yield
    finally:
        library_log.set_verbosity(verbosity)
        if bars:
            library_log.enable_progress_bar()
