"""Open a model that a run can start from: a bundle, another run, or a foreign checkpoint."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.manifest import MANIFEST_FILE, TOKENIZER_FILE, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import DiptychError
from diptych_training.checkpoint import load_run
from diptych_training.config import StartConfig
from diptych_training.errors import CheckpointError, ImportFailed, NotConvertible
from diptych_training.evaluate.proof_set.file import proof_set_file
from diptych_training.export.model_card.licence import UNKNOWN, recorded_licence
from diptych_training.export.onnx.bundle_files import MODEL_FILE, WEIGHTS_FILE
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.common.weight_files import read_weights
from diptych_training.importing.conversion import architecture_of, convert
from diptych_training.importing.own import missing_weights
from diptych_training.importing.pretrained import load_pretrained
from diptych_training.importing.source import find_source
from diptych_training.models import CLIP, ModelConfig, PooledViTConfig, build_model
from diptych_training.models.count import meta_model
from diptych_training.models.layers import positions_for
from diptych_training.objectives.contrastive import LossKind
from diptych_training.paths import expanded, if_missing, is_path
from diptych_training.run_folder import RunFolder

POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")
Tables = dict[str, Any]


@dataclass(frozen=True)
class SourceModel:
    """A model to start training from.

    `tables` are the tables of a recipe that the model determines. `weights` returns a state dict for an
    architecture, and raises CheckpointError if the model has another one. `proof_set` is the file of a bundle
    or run that has one.
    """

    title: str
    tables: Tables
    tokenizer: Tokenizer
    weights: Callable[[ModelConfig], dict[str, Tensor]]
    licence: str = UNKNOWN
    proof_set: Path | None = None


def open_source_model(start: StartConfig, runs_dir: Path, model_repo: Path) -> SourceModel:
    """Open the model that `start.source` names: a folder, NAME/VERSION, a run, or a foreign checkpoint.

    Raises CheckpointError or ImportFailed, which say what was looked for or what is wrong with the model.
    """
    path = expanded(start.source)
    if start.tokenizer is not None:
        return _open_weights(path, expanded(start.tokenizer))
    own = open_own_model(start, runs_dir, model_repo)
    if isinstance(own, SourceModel):
        return own
    return _open_published(str(path), None) if path.exists() else _open_published(start.source, own)


def open_own_model(start: StartConfig, runs_dir: Path, model_repo: Path) -> SourceModel | CheckpointError:
    """Open a run or bundle of this package; returns the reason if `start.source` is neither."""
    path = expanded(start.source)
    if not (path.exists() and is_path(start.source)):  # a bare name means a run or model, not a local file
        named = _find_by_name(start.source, runs_dir, model_repo)
        if isinstance(named, Path):
            path = named
        elif not path.exists():
            return named
    if (path / MANIFEST_FILE).is_file():
        return _open_bundle(path)
    if RunFolder(path).model_file.is_file():
        return _open_run(path, start)
    return CheckpointError(f"{start.source} is neither a run nor a version that diptych trained")


def adapted_weights(weights: Mapping[str, Tensor], model: CLIP, title: str) -> dict[str, Tensor]:
    """Adapt weights to `model`, which may have another image size: position embeddings are resized.

    Raises CheckpointError naming the first weight that is missing, left over or of another shape.
    """
    own = model.state_dict()
    n_first = 0 if isinstance(model.config.image, PooledViTConfig) else 1  # positions before the grid
    resized = {
        name: positions_for(tensor, own[name].shape[0] - n_first, n_first)
        if name in POSITIONS and name in own and tensor.shape != own[name].shape
        else tensor
        for name, tensor in weights.items()
    }
    for name in sorted(own.keys() ^ resized.keys()):
        raise CheckpointError(f"{title} {'lacks' if name in own else 'has the unexpected tensor'} {name}")
    for name, tensor in resized.items():
        if tensor.shape != own[name].shape:
            needed = tuple(own[name].shape)
            raise CheckpointError(f"{title}: {name} is {tuple(tensor.shape)}, the model needs {needed}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{title}: {name} has values that are not finite")
    return resized


def _find_by_name(source: str, runs_dir: Path, model_repo: Path) -> Path | CheckpointError:
    """The folder of a run or of a version, or the reason why there is none."""
    name, _, version = source.partition("/")
    if not version and (runs_dir / name).is_dir():
        return runs_dir / name
    repository = ModelRepository(model_repo)
    try:
        number = int(version) if version.isdecimal() else 0 if version else repository.latest(name)
        return repository.folder(name, number)
    except DiptychError as error:
        return CheckpointError(
            f"{source!r} is not a folder, a run in {runs_dir}, or a model in {model_repo}: {error}"
            f"{if_missing(model_repo)}"
        )


def _open_run(folder: Path, start: StartConfig) -> SourceModel:
    run = load_run(folder, start.which)
    stated = {
        "loss": run.config.loss,
        **_tables(model=run.model_config, preprocess=run.image_spec, text=run.text_spec),
    }
    return _own_source_model(
        f"{folder.resolve().name} ({start.which}, step {run.step})",
        stated,
        folder,
        lambda: load_run(folder, start.which).model,
        recorded_licence(run.provenance).name,
    )


def _open_bundle(folder: Path) -> SourceModel:
    manifest = read_manifest(folder)
    title = f"{manifest.name}/{manifest.version}"
    if not (folder / WEIGHTS_FILE).is_file() or not (folder / MODEL_FILE).is_file():
        raise CheckpointError(missing_weights(manifest))
    try:
        config = ModelConfig.model_validate_json((folder / MODEL_FILE).read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{title}: {MODEL_FILE}: {error}") from error

    def load() -> CLIP:
        try:
            model = build_model(config)
            model.load_state_dict(read_weights(folder / WEIGHTS_FILE))
        except RuntimeError as error:
            raise CheckpointError(f"{title}: {WEIGHTS_FILE} does not fit {MODEL_FILE}: {error}") from error
        return model

    loss: LossKind = "sigmoid" if manifest.family == "siglip" else "softmax"
    stated = {"loss": loss, **_tables(model=config, preprocess=manifest.image, text=manifest.text)}
    return _own_source_model(title, stated, folder, load, manifest.licence)


def _own_source_model(
    title: str, tables: Tables, folder: Path, load: Callable[[], CLIP], licence: str
) -> SourceModel:
    """A run or bundle, whose weights are read when they are needed: training has no use for a second copy."""
    return SourceModel(
        title=title,
        tables=tables,
        tokenizer=Tokenizer.from_file(str(folder / TOKENIZER_FILE)),
        weights=lambda config: adapted_weights(load().state_dict(), meta_model(config), title),
        licence=licence,
        proof_set=proof_set_file(folder),
    )


def _open_published(source: str, reason: DiptychError | None) -> SourceModel:
    """Open a foreign checkpoint, as `diptych-train import` reads it; its weights are checked against its own
    library when they are needed.

    `reason`: why `source` is not a run or bundle of this package. Raises ImportFailed.
    """
    try:
        found = find_source(source, Choices())
        imported = found.load()
    except ImportFailed as error:
        raise ImportFailed(str(error) if reason is None else f"{reason}; and {error}") from error

    def weights(config: ModelConfig) -> dict[str, Tensor]:
        with _named(source):
            model = convert(found.load())  # again: training has no use for the library's model in memory
        return adapted_weights(model.state_dict(), meta_model(config), source)

    loss: LossKind = "sigmoid" if imported.family == "siglip" else "softmax"
    with _named(source):
        config = architecture_of(imported)
    return SourceModel(
        title=source,
        tables={"loss": loss, **_tables(model=config, preprocess=imported.image, text=imported.text)},
        tokenizer=imported.tokenizer,
        weights=weights,
        licence=imported.licence,
    )


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Add the checkpoint to the reason why it cannot be trained further."""
    try:
        yield
    except NotConvertible as reason:
        raise NotConvertible(f"{source} cannot be trained further: {reason}") from reason


def _open_weights(path: Path, tokenizer_file: Path) -> SourceModel:
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"start.tokenizer {tokenizer_file}: cannot be read: {error}") from error
    return SourceModel(str(path), {}, tokenizer, lambda config: load_pretrained(path, config))


def _tables(**stated: BaseModel) -> Tables:
    return {table: one.model_dump(mode="json", exclude_none=True) for table, one in stated.items()}
