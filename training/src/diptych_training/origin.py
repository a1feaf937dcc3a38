"""What a run can start from, read whole: a version of a model repository, or another run.

Knows nothing of how it is trained further.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.bundle.manifest import MANIFEST_FILE, TOKENIZER_FILE, ImageSpec, TextSpec, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import DiptychError
from diptych_training.checkpoint import Which, load_run
from diptych_training.errors import CheckpointError
from diptych_training.export.files import MODEL_FILE, WEIGHTS_FILE
from diptych_training.loss import LossKind
from diptych_training.models import CLIP, ModelConfig, PooledViTConfig, build_model
from diptych_training.models.positions import positions_for
from diptych_training.run_folder import RunFolder

POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


@dataclass(frozen=True)
class Origin:
    """A model with all that it takes to go on with it; the model is in evaluation mode, on the CPU."""

    title: str
    loss: LossKind
    model: CLIP
    image_spec: ImageSpec
    text_spec: TextSpec
    tokenizer_file: Path

    def tables(self) -> dict[str, Any]:
        """What of a recipe it answers."""
        tables = {
            table: stated.model_dump(mode="json", exclude_none=True)
            for table, stated in (
                ("model", self.model.config),
                ("preprocess", self.image_spec),
                ("text", self.text_spec),
            )
        }
        return {"loss": self.loss, **tables}


def open_origin(source: str, which: Which, runs_dir: Path, model_repo: Path) -> Origin:
    """The model that `source` names: a folder, NAME/VERSION of a repository, a run's name, or a model's name.

    Raises CheckpointError saying what was looked for, or what is wrong with what was found.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = _named(source, runs_dir, model_repo)
    if (folder / MANIFEST_FILE).is_file():
        return _open_bundle(folder)
    if RunFolder(folder).model_file.is_file():
        run = load_run(folder, which)
        title = f"{folder.resolve().name} ({which}, step {run.step})"
        return Origin(title, run.config.loss, run.model, run.image_spec, run.text_spec, run.tokenizer_file)
    raise CheckpointError(f"{folder} is neither a run nor a version of a model: it has no {MANIFEST_FILE}")


def fitted(weights: Mapping[str, Tensor], model: CLIP) -> dict[str, Tensor]:
    """Weights of the same architecture at another image size: their positions resized to that of `model`.

    Raises CheckpointError naming the first weight that is missing, left over or of another shape.
    """
    own = model.state_dict()
    n_first = 0 if isinstance(model.config.image, PooledViTConfig) else 1  # positions that are on no grid
    resized = {
        name: positions_for(tensor, own[name].shape[0] - n_first, n_first)
        if name in POSITIONS and name in own and tensor.shape != own[name].shape
        else tensor
        for name, tensor in weights.items()
    }
    for name in sorted(own.keys() ^ resized.keys()):
        raise CheckpointError(f"the weights {'lack' if name in own else 'have in excess'} {name}")
    for name, tensor in resized.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{name} is {tuple(tensor.shape)}, the model needs {tuple(own[name].shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that are not finite")
    return resized


def _named(source: str, runs_dir: Path, model_repo: Path) -> Path:
    name, _, version = source.partition("/")
    if not version and (runs_dir / name).is_dir():
        return runs_dir / name
    repository = ModelRepository(model_repo)
    try:
        if version and not version.isdecimal():
            raise CheckpointError(f"the version is {version!r}, it must be a number")
        return repository.folder(name, int(version) if version else repository.latest(name))
    except DiptychError as error:
        raise CheckpointError(
            f"{source!r} is no folder, no run in {runs_dir}, and no model in {model_repo}: {error}"
        ) from error


def _open_bundle(folder: Path) -> Origin:
    manifest = read_manifest(folder)
    title = f"{manifest.name}/{manifest.version}"
    for file in (WEIGHTS_FILE, MODEL_FILE):
        if not (folder / file).is_file():
            raise CheckpointError(
                f"{title} has no {file}: it was imported from elsewhere, and cannot be trained on"
            )
    try:
        model = build_model(ModelConfig.model_validate_json((folder / MODEL_FILE).read_bytes()))
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (ValidationError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{title}: {WEIGHTS_FILE} does not fit {MODEL_FILE}: {error}") from error
    loss: LossKind = "sigmoid" if manifest.family == "siglip" else "softmax"
    return Origin(title, loss, model.eval(), manifest.image, manifest.text, folder / TOKENIZER_FILE)
