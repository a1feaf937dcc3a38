"""Read named tensors from weight files, never with unrestricted pickle."""

import pickle  # only for the class of torch's refusal
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from diptych_training.errors import ImportFailed
from diptych_training.export.onnx.half_weights import HELD, read_held_weights

StateDict = dict[str, Tensor]
PARALLEL = "module."  # prefix from open_clip's trainer, which saves the model in its data-parallel wrapper


FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")


def read_weights(file: Path) -> StateDict:
    """Tensors by name, from safetensors, a state dict, or a training checkpoint with a `state_dict`.

    What the file of a bundle leaves to the graphs next to it is read from them. Raises ImportFailed if a file
    does not load or holds anything but tensors.
    """
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise ImportFailed(f"{file}: expected a state dict, found {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ImportFailed(f"{file}: {name!r} is {type(value).__name__}, not a tensor")
    if all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return dict(state)


def _read_safetensors(file: Path) -> Any:
    try:
        with safe_open(file, framework="pt") as opened:
            held = (opened.metadata() or {}).get(HELD)
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ImportFailed(f"{file}: not a safetensors file: {error}") from error
    return tensors if held is None else tensors | read_held_weights(file, held)


def _read_torch(file: Path) -> Any:
    """Load a pickle of tensors, memory-mapped if possible: most of a checkpoint may be optimizer state."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = refused_pickle(error) or str(error).split("\n", maxsplit=1)[0]
        raise ImportFailed(f"{file}: cannot be read as plain weights: {reason}") from error


def require_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ImportFailed naming the first tensor with NaN or infinite values, and their number."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            n_bad = int((~tensor.isfinite()).sum())
            raise ImportFailed(
                f"{where}: {name} has {n_bad:,} of {tensor.numel():,} numbers that are not finite: "
                "the weights are damaged"
            )


def refused_pickle(error: BaseException) -> str | None:
    """One line if this error, or its cause, is torch refusing a pickle of more than tensors; else None.

    torch's own message advises to load the file unsafely.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, pickle.UnpicklingError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    found = FORBIDDEN.search(str(cause))
    asked = f"uses {found[1]}" if found else "holds more than tensors, or is damaged"
    return f"{asked}; only tensors are read from a pickle, none of its code is run: convert it to safetensors"
