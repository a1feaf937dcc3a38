"""Load a configuration, and a model with every tensor accounted for."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.weight_files import refused_pickle, require_finite
from diptych_training.importing.hugging_face.families import Family
from diptych_training.importing.hugging_face.library import CONFIG_FILE, DualEncoder, ModelConfig

N_NAMED = 6  # tensors that an error lists before it only counts

# Tensors that are not used: counters and index buffers that older versions stored, and the pooler of
# BERT-like text towers (all of these families take the first token itself).
UNUSED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|num_batches_tracked)$"
    r"|(^|\.)(text_model|roberta)\.pooler\.dense\.(weight|bias)$"
)


def load_config(folder: Path, family: Family) -> ModelConfig:
    """The configuration of both towers, with the library's defaults for keys that the file omits."""
    config_class: Any = family.model_class.config_class
    try:
        return config_class.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the library raises many kinds
        raise ImportFailed(f"{folder.name}: transformers cannot read {CONFIG_FILE}: {error}") from error


def load_model(folder: Path, family: Family) -> DualEncoder:
    """Load the model in float32, evaluation mode, on the CPU; safetensors or state dict, possibly in shards.

    Raises ImportFailed naming tensors that are missing, left over or of another shape, which the library
    itself would fill with random numbers, and tensors with values that are not finite.
    """
    model_class: Any = family.model_class
    try:
        model, report = model_class.from_pretrained(
            str(folder),
            local_files_only=True,
            weights_only=True,
            dtype=torch.float32,
            # Plain matrix products and a softmax, which export with masks of any batch and length.
            attn_implementation="eager",
            ignore_mismatched_sizes=True,  # reported below, all names at once
            output_loading_info=True,
        )
    except Exception as error:  # the library raises many kinds, even KeyError and pickle's errors
        refused = refused_pickle(error)
        reason = f"{_pickles_in(folder)} {refused}" if refused else error
        raise ImportFailed(f"{folder.name}: transformers cannot load the model: {reason}") from error
    _require_every_tensor(folder, report)
    require_finite(model.state_dict(), folder.name)
    return model.eval()


def _pickles_in(folder: Path) -> str:
    return ", ".join(sorted(file.name for file in folder.glob("*.bin")))


def _require_every_tensor(folder: Path, report: dict[str, Any]) -> None:
    missing = _drop_unused(report["missing_keys"])
    unexpected = _drop_unused(report["unexpected_keys"])
    shapes = [
        f"{name} (stored {tuple(stored)}, the configuration needs {tuple(needed)})"
        for name, stored, needed in sorted(report["mismatched_keys"])
    ]
    faults = [("missing", missing), ("not part of the model", unexpected), ("of another shape", shapes)]
    lines = [f"{fault}: {_abbreviate(names)}" for fault, names in faults if names]
    lines += [str(message) for message in report["error_msgs"]]
    if lines:
        raise ImportFailed(f"{folder.name}: weights do not fit the configuration; {'; '.join(lines)}")


def _drop_unused(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not UNUSED.search(name))


def _abbreviate(names: list[str]) -> str:
    named = ", ".join(names[:N_NAMED])
    return named if len(names) <= N_NAMED else f"{named} and {len(names) - N_NAMED} more"
