"""How images are prepared for the weights that were published of an architecture; reads no checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices

FLAGS = {
    "mean": "--mean",
    "std": "--std",
    "interpolation": "--interpolation",
    "resize_mode": "--resize-mode",
}

N_TAGS = 3  # names of published weights in one message


def require_preparation(name: str, file: Path, choices: Choices) -> None:
    """Raise ImportFailed naming the flags that are missing, with published values to copy."""
    missing = [key for key in FLAGS if getattr(choices, key) is None]
    if not missing:
        return
    ways = published_flags(name, missing)
    told = "; or ".join(f"{flags} ({_some(tags)})" for flags, tags in ways.items())
    known = f"published weights of {name} take {told}" if ways else f"nobody published weights of {name}"
    raise ImportFailed(
        f"{file}: weights alone do not say how images are prepared: "
        f"pass {', '.join(FLAGS[key] for key in missing)}; {known}"
    )


def published_flags(name: str, keys: list[str]) -> dict[str, list[str]]:
    """Flags as they are typed -> the tags of published weights whose images are prepared so."""
    ways: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        flags = _typed(open_clip.get_pretrained_cfg(name, tag), keys)
        ways.setdefault(flags, []).append(tag)
    return ways


def _some(tags: list[str]) -> str:
    more = f" and {len(tags) - N_TAGS} more" if len(tags) > N_TAGS else ""
    return ", ".join(tags[:N_TAGS]) + more


def _typed(config: Mapping[str, Any], keys: list[str]) -> str:
    return " ".join(f"{FLAGS[key]} {_value(config[key])}" for key in keys)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(str(channel) for channel in value)
