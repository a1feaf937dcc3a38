"""Open the version that a refresh starts from, with the shipped pairs that it is judged on."""

from dataclasses import dataclass
from hashlib import sha256

from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import SHIPPED_NAME
from diptych.errors import BundleError, NotFound
from diptych_training.config import StartConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.evaluate.proof_set.file import judged_proof_set
from diptych_training.evaluate.proof_set.proof_set import NAME_SUFFIX
from diptych_training.export.onnx.bundle_files import WEIGHTS_FILE
from diptych_training.export.onnx.half_weights import is_half_stored
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.paths import cache_dir
from diptych_training.refresh.options import Places


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


def open_start(given: str, places: Places) -> Start:
    """Open NAME or NAME/VERSION.

    Raises NotFound or TrainingConfigError if there is no such version, CheckpointError if it holds no
    weights, DataError if neither it nor the default model has a proof set.
    """
    name, _, number = given.partition("/")
    if number and not number.isdecimal():
        raise TrainingConfigError(f"--from {given}: must be NAME or NAME/VERSION of {places.model_repo}")
    repository = places.repository
    manifest = repository.manifest(name, int(number) if number else repository.latest(name))
    title = f"{name}/{manifest.version}"
    bundle = repository.folder(name, manifest.version)
    source = open_source_model(StartConfig(source=title), places.runs_dir, places.model_repo)
    proof_set = judged_proof_set(repository, bundle)
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
