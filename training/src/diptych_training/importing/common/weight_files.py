"""Read named tensors from files of weights, never with unrestricted pickle; knows no architecture."""

import pickle  # only for the class of torch's refusal
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych_training.errors import ImportFailed

StateDict = dict[str, Tensor]
PARALLEL = "module."  # open_clip's trainer saves the model inside its data-parallel wrapper


FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")


def read_weights(file: Path) -> StateDict:
    """Tensors by name, from safetensors, a state dict, or a training checkpoint with a `state_dict`.

    Raises ImportFailed when the file holds anything but tensors, or does not load.
    """
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise ImportFailed(f"{file}: holds no state dict, but {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ImportFailed(f"{file}: {name!r} is {type(value).__name__}, not a tensor")
    if all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return dict(state)


def _read_safetensors(file: Path) -> Any:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ImportFailed(f"{file}: not a safetensors file: {error}") from error


def _read_torch(file: Path) -> Any:
    """Memory-mapped where the format allows: a training checkpoint is mostly optimizer state."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = refused_pickle(error) or str(error).split("\n", maxsplit=1)[0]
        raise ImportFailed(f"{file}: cannot be read as plain weights: {reason}") from error


def require_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ImportFailed naming the first tensor that holds a NaN or an infinity, and how many."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            n_bad = int((~tensor.isfinite()).sum())
            raise ImportFailed(
                f"{where}: {name} has {n_bad:,} of {tensor.numel():,} numbers that are not finite: "
                "the weights are damaged"
            )


def refused_pickle(error: BaseException) -> str | None:
    """Why, if this error or what caused it is torch's refusal of anything but tensors; else None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, pickle.UnpicklingError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    found = FORBIDDEN.search(str(cause))
    asked = f"asks for {found[1]}" if found else "holds more than tensors, or is damaged"
    return f"{asked}; only tensors are read from a pickle, nothing in it is run: convert it to safetensors"
