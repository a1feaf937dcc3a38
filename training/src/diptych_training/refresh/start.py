"""Options of `diptych-train refresh`, and the folders that it uses."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.errors import BundleError, NotFound
from diptych_training.config import StartConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.evaluate.proof_set.file import proof_set_to_evaluate
from diptych_training.evaluate.proof_set.proof_set import NAME_SUFFIX
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.flags import AUTO
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.paths import cache_dir
from diptych_training.refresh.evaluation.evaluate import MAX_LOSS
from diptych_training.refresh.pairs.prepare import PairsOptions
from diptych_training.refresh.reviewed.fetch import Reviewed


@dataclass(frozen=True)
class Places:
    """The folders of models and runs."""

    model_repo: Path
    runs_dir: Path

    @property
    def repository(self) -> ModelRepository:
        """The model repository."""
        return ModelRepository(self.model_repo)


@dataclass(frozen=True)
class RefreshOptions:
    """The options of the user. There is one field for each flag.

    `start` is NAME or NAME/VERSION of the repository; None: the newest version of `name`, or else the default
    model. `recipe` is a file in place of the chosen recipe.
    `alpha` is the weight of the mix, None to choose it. `max_loss`: points of top-1 on each part of the
    shipped set that may be lost; `shipped_pictures`: how many pictures of that set judge, None: all.
    `half_weights`: whether weights are stored as float16; None: as the start stores its own.
    `old_data`: where the data set may be that the old model was trained on. `reviewed`: what the sources are,
    if they are the reviewed pictures of a label set.
    """

    sources: tuple[str, ...]
    name: str
    start: str | None
    pairs: PairsOptions
    old_data: Path
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    alpha: float | None = None
    max_loss: float = MAX_LOSS
    shipped_pictures: int | None = None
    half_weights: bool | None = None
    licence: str | None = None
    device: str = AUTO
    again: bool = False
    only_look: bool = False
    reviewed: Reviewed | None = None


@dataclass(frozen=True)
class Start:
    """A version of the repository. `shipped` is the unpacked proof set at its image size. `half_weights`:
    whether its weights are stored as float16.
    """

    source: SourceModel
    manifest: Manifest
    shipped: PackedDataset
    half_weights: bool

    @property
    def title(self) -> str:
        """NAME/VERSION."""
        return f"{self.manifest.name}/{self.manifest.version}"


def default_start(name: str, places: Places) -> str:
    """The newest version of the user's model, so that its refreshes add up; else the default model."""
    try:
        return f"{name}/{places.repository.latest(name)}"
    except (NotFound, BundleError):
        return SHIPPED_NAME


def start_manifest(given: str, places: Places) -> Manifest:
    """The manifest of NAME or NAME/VERSION. Raises NotFound or TrainingConfigError if there is none."""
    name, _, number = given.partition("/")
    if number and not number.isdecimal():
        raise TrainingConfigError(f"--from {given}: must be NAME or NAME/VERSION of {places.model_repo}")
    repository = places.repository
    return repository.manifest(name, int(number) if number else repository.latest(name))


def open_start(given: str, places: Places) -> Start:
    """Open NAME or NAME/VERSION.

    Raises as `start_manifest`, CheckpointError if it holds no weights, DataError if neither it nor the
    default model has a proof set.
    """
    repository, manifest = places.repository, start_manifest(given, places)
    title = f"{manifest.name}/{manifest.version}"
    bundle = repository.folder(manifest.name, manifest.version)
    source = open_source_model(StartConfig(source=title), places.runs_dir, places.model_repo)
    proof_set = proof_set_to_evaluate(repository, bundle)
    if proof_set is None:
        raise DataError(
            f"{title} has no proof set, nor has a version of {SHIPPED_NAME} in {places.model_repo}: nothing "
            "could tell what a refresh loses. `diptych-train export --add-proof-set` adds one to a version"
        )
    size = manifest.image.size
    digest = sha256(repr([(one.name, one.entry(size).recipe) for one in proof_set.sources]).encode())
    folder = cache_dir() / "proof-sets" / f"{size}px-{digest.hexdigest()[:12]}"
    shipped = proof_set.unpack(folder / f"{proof_set.name}{NAME_SUFFIX}", size)
    return Start(source, manifest, shipped, is_half_stored(bundle / WEIGHTS_FILE))
