"""Load published weights under our names, for a run to start from.

Reads bundles, OpenAI's archives and state dicts, open_clip's files and training checkpoints, and folders of
transformers; the layout is recognised by the tensors' names. Needs none of these libraries.
"""

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from diptych_training.errors import CheckpointError, ImportFailed
from diptych_training.importing.common.torchscript import is_torchscript, read_torchscript
from diptych_training.importing.common.weight_files import read_weights, require_finite
from diptych_training.importing.weight_names import from_layout
from diptych_training.importing.weight_names.image_towers import image_tower_weights, lite_weights
from diptych_training.models import EfficientNetLiteConfig, ModelConfig

# In order of preference: ours, open_clip's, those of transformers; pickles last, and only their tensors.
WEIGHT_FILES = (
    "weights.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
INDEX_SUFFIX = ".index.json"


def load_pretrained(path: Path, config: ModelConfig) -> dict[str, Tensor]:
    """Weights from a file or a folder, in float32, ready for `load_state_dict(strict=True)`.

    Raises ImportFailed if nothing can be read, CheckpointError naming the tensors that do not fit `config`.
    """
    state = _read_folder(path) if path.is_dir() else _read_file(path)
    require_finite(state, str(path))
    try:
        ours = from_layout(state, config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in ours.items()}


def load_image_tower(file: Path, config: ModelConfig) -> dict[str, Tensor]:
    """Weights of an image tower that another library trained, under our names, in float32.

    Raises ImportFailed if the file cannot be read, CheckpointError naming the tensors that do not fit.
    """
    return _load_tower(file, lambda state: image_tower_weights(state, config))


def load_lite(file: Path, image: EfficientNetLiteConfig) -> dict[str, Tensor]:
    """As `load_image_tower`, an EfficientNet-Lite under the names within the tower."""
    return _load_tower(file, lambda state: lite_weights(state, image))


def _load_tower(file: Path, named: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, Tensor]:
    state = _read_file(file)
    require_finite(state, str(file))
    try:
        tower = named(state)
    except CheckpointError as error:
        raise CheckpointError(f"start_image {file}: {error}") from error
    return {name: tensor.float() for name, tensor in tower.items()}


def _read_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ImportFailed(f"{file}: no such file or folder of weights")
    return read_torchscript(file) if is_torchscript(file) else read_weights(file)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return _read_shards(folder / name) if name.endswith(INDEX_SUFFIX) else _read_file(folder / name)
    raise ImportFailed(f"{folder}: no weights found: looked for {', '.join(WEIGHT_FILES)}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Read all shards that an index of transformers names, from the index's folder."""
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        files = [index.parent / Path(shard).name for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImportFailed(f"{index}: not an index of shards: {error!r}") from error
    return {name: tensor for file in files for name, tensor in _read_file(file).items()}
