"""Configurations of text towers that come from transformers, found without asking a hub; knows no weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from open_clip.hf_configs import arch_dict as known_types

from diptych_training.errors import ImportFailed

KNOWN_FILE = "hugging_face_text.json"  # those that open_clip's own architectures name


@contextmanager
def local_config(name: str, folder: Path | None) -> Iterator[str]:
    """A folder with the `config.json` of the text tower called `name`, for as long as it is needed.

    The checkpoint's own folder goes before what is known of the name. Raises ImportFailed without either.
    """
    config = (_config_in(folder) if folder else None) or _known().get(name)
    if config is None:
        raise ImportFailed(
            f"text_cfg.hf_model_name is {name}: put its config.json (model_type one of "
            f"{', '.join(known_types)}) beside the weights; known without it: {', '.join(_known())}"
        )
    with TemporaryDirectory() as staged:
        (Path(staged) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield staged


def _config_in(folder: Path) -> dict[str, Any] | None:
    """The folder's `config.json` if it is a text tower's, not a whole model's; never code of its own."""
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ImportFailed(f"{file}: not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") not in known_types:
        return None
    return {key: value for key, value in config.items() if key != "auto_map"}


def _known() -> dict[str, dict[str, Any]]:
    text = files(__package__).joinpath(KNOWN_FILE).read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = json.loads(text)
    return known
