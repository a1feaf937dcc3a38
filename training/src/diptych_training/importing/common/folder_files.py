"""Read further files of a checkpoint's folder: the licence of its model card, and its tokenizer."""

import json
from pathlib import Path
from typing import Any

from diptych_training.errors import ImportFailed

UNKNOWN = "unknown"
CARD_FILE = "README.md"  # of a checkpoint, with its front matter


def agreed_licence(stated: str | None, given: str | None, where: str) -> str:
    """The licence stated in `where`, else the one given by --licence, else `unknown`.

    Raises ImportFailed if the two differ.
    """
    known = stated if stated != UNKNOWN else None
    if known and given and known.casefold() != given.casefold():
        raise ImportFailed(f"--licence {given} contradicts {where}, which says {known}: leave --licence out")
    return known or given or UNKNOWN


def licence_of(folder: Path, given: str | None) -> str:
    """`license` in the front matter of README.md, else the given one, else `unknown`.

    Raises ImportFailed if the two differ.
    """
    return agreed_licence(_licence_in_card(folder / CARD_FILE), given, f"{folder.name}/{CARD_FILE}")


def _licence_in_card(card: Path) -> str | None:
    # Imported here: huggingface_hub is part of an extra, which our own checkpoints do not need.
    from huggingface_hub import metadata_load  # noqa: PLC0415

    if not card.is_file():
        return None
    try:
        facts = metadata_load(card) or {}
    except Exception:  # invalid YAML states no licence
        return None
    licence = facts.get("license")
    name = facts.get("license_name")
    if licence == "other" and isinstance(name, str):
        return name
    return licence if isinstance(licence, str) else None


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
    """The tokenizer that the configuration names; None if it cannot be read, which its reader reports."""
    try:
        return json.loads(config.read_bytes())["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
