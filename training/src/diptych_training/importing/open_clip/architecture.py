"""A checkpoint's model and preprocessing configuration in open_clip's terms, and the files that hold it."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices

CONFIG_FILE = "open_clip_config.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
WEIGHT_NAMES = (  # in the library's order of preference
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)


def is_open_clip(path: Path) -> bool:
    """True for a folder with open_clip's configuration, and for any single file of weights."""
    if path.is_dir():
        return (path / CONFIG_FILE).is_file()
    return path.is_file() and path.suffix in WEIGHT_SUFFIXES


def has_weights(folder: Path) -> bool:
    """True for a folder with weights under a name that only open_clip uses."""
    return any((folder / name).is_file() for name in WEIGHT_NAMES)


def weights_in(folder: Path) -> Path:
    """The weights file of a checkpoint folder. Raises ImportFailed if there is none, or several."""
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES)
    if len(others) == 1:
        return others[0]
    found = ", ".join(file.name for file in others) or "none"
    raise ImportFailed(f"{folder}: expected one file of weights, such as {WEIGHT_NAMES[0]}; found {found}")


FLAGS = {"mean": "--mean", "std": "--std", "interpolation": "--interpolation", "resize_mode": "--resize-mode"}

N_TAGS = 3  # names of published weights in one message

# open_clip's defaults for keys that a configuration omits: older releases had only these values, and today's
# do not write the fill colour either. Mean and standard deviation are always written.
LIBRARY_DEFAULTS = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
CUSTOM = "custom"


def require_image_flags(name: str, file: Path, choices: Choices) -> None:
    """Raise ImportFailed naming the flags that are missing, with values of published weights to copy."""
    missing = [key for key in FLAGS if getattr(choices, key) is None]
    if not missing:
        return
    flag_sets = published_flags(name, missing)
    message = "; or ".join(f"{flags} ({_abbreviate(tags)})" for flags, tags in flag_sets.items())
    known = (
        f"published weights of {name} take {message}" if flag_sets else f"nobody published weights of {name}"
    )
    raise ImportFailed(
        f"{file}: a file of weights does not state the image preprocessing: "
        f"pass {', '.join(FLAGS[key] for key in missing)}; {known}"
    )


def published_flags(name: str, keys: list[str]) -> dict[str, list[str]]:
    """Command-line flags -> tags of the published weights that use these settings."""
    flag_sets: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        flags = _typed(open_clip.get_pretrained_cfg(name, tag), keys)
        flag_sets.setdefault(flags, []).append(tag)
    return flag_sets


def _abbreviate(tags: list[str]) -> str:
    more = f" and {len(tags) - N_TAGS} more" if len(tags) > N_TAGS else ""
    return ", ".join(tags[:N_TAGS]) + more


def _typed(config: Mapping[str, Any], keys: list[str]) -> str:
    return " ".join(f"{FLAGS[key]} {_value(config[key])}" for key in keys)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(str(channel) for channel in value)


@dataclass(frozen=True)
class Architecture:
    """`model_cfg` and `preprocess_cfg` of open_clip; `folder` may hold a tokenizer."""

    name: str
    model: dict[str, Any]
    preprocess: dict[str, Any]
    library: Literal["open_clip", "openai"] = "open_clip"
    folder: Path | None = None


def architecture_in(folder: Path, choices: Choices) -> Architecture:
    """Read a folder's configuration. Raises ImportFailed if it is invalid or `choices` name another."""
    if choices.architecture is not None:
        raise ImportFailed(
            f"{folder / CONFIG_FILE} states the architecture: leave --architecture {choices.architecture} out"
        )
    model, stated = _configuration(folder / CONFIG_FILE)
    known = {**LIBRARY_DEFAULTS, **_given_choices(choices), **stated}
    return Architecture(listed_name(model), model, known, folder=folder)


def architecture_named(name: str, file: Path, choices: Choices) -> Architecture:
    """One of open_clip's architectures, for a file of weights without image settings.

    Raises ImportFailed with close matches for an unknown name. For a known name whose image settings are not
    all in `choices`, raises ImportFailed with the settings of published weights: they may not be this file's.
    """
    model = open_clip.get_model_config(name)
    if model is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=5, cutoff=0.5)
        near = f"; close: {', '.join(close)}" if close else ""
        raise ImportFailed(
            f"--architecture {name}: open_clip {open_clip.__version__} has no architecture of this name{near}"
        )
    require_image_flags(name, file, choices)
    always = {key: LIBRARY_DEFAULTS[key] for key in ("mode", "fill_color")}
    return Architecture(name, model, {**always, **_given_choices(choices)})


def listed_name(model: dict[str, Any]) -> str:
    """open_clip's name for a configuration, ignoring its tokenizer; `custom` if it is not listed."""
    names: Sequence[str] = open_clip.list_models()
    wanted = _without_tokenizer(model)
    return next((n for n in names if _without_tokenizer(open_clip.get_model_config(n)) == wanted), CUSTOM)


def _configuration(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """`model_cfg`, and the keys of `preprocess_cfg` that are not null."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailed(f"{file}: not a configuration: {error}") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not _is_complete(model):
        raise ImportFailed(f"{file}: model_cfg must have embed_dim, vision_cfg and text_cfg")
    stated = config.get("preprocess_cfg") or {}
    return model, {key: value for key, value in stated.items() if value is not None}


def _is_complete(model: dict[str, Any]) -> bool:
    return "embed_dim" in model and all(isinstance(model.get(p), dict) for p in ("vision_cfg", "text_cfg"))


def _given_choices(choices: Choices) -> dict[str, Any]:
    return {key: getattr(choices, key) for key in FLAGS if getattr(choices, key) is not None}


def _without_tokenizer(model: dict[str, Any]) -> dict[str, Any]:
    text = {key: value for key, value in model["text_cfg"].items() if key != "hf_tokenizer_name"}
    return {**model, "text_cfg": text}
