"""Recognise by its files whether a checkpoint holds the tokenizer that it needs, without any library."""

import json
from pathlib import Path
from typing import Any

from diptych_training.errors import ImportFailed

OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG = "open_clip_config.json", "config.json"
TOKENIZER_NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)


def has_tokenizer(folder: Path) -> bool:
    """True if the folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_NAMES)


def require_tokenizer(folder: Path) -> None:
    """Raise ImportFailed if the checkpoint in the folder needs a tokenizer that is not there.

    Checkpoints of open_clip need one only if their configuration names it: CLIP's own is in the library.
    """
    if has_tokenizer(folder):
        return
    config = folder / OPEN_CLIP_CONFIG
    if not config.is_file() and (folder / TRANSFORMERS_CONFIG).is_file():
        raise ImportFailed(f"{folder.name} has no tokenizer files; pass --tokenizer FOLDER")
    if name := _named_tokenizer(config):
        raise ImportFailed(
            f"text_cfg.hf_tokenizer_name is {name}, and the checkpoint holds no tokenizer: pass --tokenizer"
        )


def _named_tokenizer(config: Path) -> Any:
    """What the configuration names; None if it cannot be read, which its reader reports."""
    try:
        return json.loads(config.read_bytes())["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
