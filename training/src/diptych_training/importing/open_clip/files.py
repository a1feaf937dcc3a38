"""Recognise the files of an open_clip checkpoint by their names."""

from pathlib import Path

from diptych_training.errors import ImportFailed

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
