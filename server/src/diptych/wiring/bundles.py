"""Choose a version of the repository, load it and prove it on this machine. Knows nothing of services."""

from dataclasses import dataclass
from pathlib import Path

from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.bundle.golden import check_golden, read_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE, Manifest, identity
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text import TextTokenizer
from diptych.core.types import ModelInfo
from diptych.errors import ConfigError
from diptych.settings import Settings

DECODE = "exact"
_CPU = ("CPUExecutionProvider",)
_CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(frozen=True)
class LoadedBundle:
    """A version that was verified, loaded and proven on this machine, in one precision."""

    folder: Path
    manifest: Manifest
    precision: str
    tokenizer: TextTokenizer
    encoder: OnnxEncoder

    @property
    def info(self) -> ModelInfo:
        """What the domain needs to know of it."""
        manifest = self.manifest
        return ModelInfo(
            name=manifest.name,
            version=manifest.version,
            precision=self.precision,
            identity=identity(self.folder, self.precision, DECODE),
            provider=self.encoder.provider,
            family=manifest.family,
            embed_dim=manifest.embed_dim,
            context_length=manifest.text.context_length,
            logit_scale=manifest.logit_scale,
            logit_bias=manifest.logit_bias,
            image_size=manifest.image.size,
            prompts={name: tuple(templates) for name, templates in manifest.text.prompts.items()},
        )


def chosen_version(settings: Settings) -> tuple[str, int]:
    """The name and version to serve. Raises ConfigError that says what to run when there is none."""
    repository, name = ModelRepository(settings.model_repo), settings.model
    if not settings.model_repo.is_dir():
        raise ConfigError(
            f"there is no model repository at {settings.model_repo.absolute()}: "
            "name one with --model-repo, or make one with `diptych-train export`"
        )
    names = repository.names()
    if name not in names:
        known = ", ".join(names) or "no model"
        raise ConfigError(
            f"there is no model {name!r} in {settings.model_repo.absolute()}, it holds {known}: "
            f"choose with --model, or make it with `diptych-train export --name {name}`"
        )
    versions = repository.versions(name)
    version = settings.version or versions[-1]
    if version not in versions:
        raise ConfigError(f"model {name!r} has no version {version}, only {', '.join(map(str, versions))}")
    return name, version


def check_choice(settings: Settings) -> None:
    """Raises ConfigError or InvalidManifest for a choice of model that is known wrong without loading it."""
    manifest = ModelRepository(settings.model_repo).manifest(*chosen_version(settings))
    _require_precision(manifest, settings.precision)
    if manifest.ungated and not settings.allow_ungated:
        raise ConfigError(
            f"{manifest.name}/{manifest.version} was built ungated, its parity is unknown: "
            "see --allow-ungated"
        )


def load_bundle(
    repository: ModelRepository, name: str, version: int, *, precision: str, device: str, n_threads: int
) -> LoadedBundle:
    """Verify every file, load the graphs, reproduce the golden outputs. Raises BundleError, ConfigError."""
    manifest, folder = repository.verify(name, version), repository.folder(name, version)
    _require_precision(manifest, precision)
    files = manifest.precisions[precision]
    encoder = _encoder(folder / files.image_file, folder / files.text_file, device, n_threads)
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, manifest.text)
    check_golden(read_golden(folder / GOLDEN_FILE), manifest, precision, tokenizer, encoder)
    return LoadedBundle(folder, manifest, precision, tokenizer, encoder)


def _require_precision(manifest: Manifest, precision: str) -> None:
    if precision not in manifest.precisions:
        known = ", ".join(manifest.precisions)
        raise ConfigError(f"{manifest.name}/{manifest.version} has no precision {precision!r}, only {known}")


def _encoder(image_file: Path, text_file: Path, device: str, n_threads: int) -> OnnxEncoder:
    if device != "cpu":
        try:
            return OnnxEncoder(image_file, text_file, n_threads=n_threads, providers=_CUDA)
        except ConfigError:
            if device == "cuda":
                raise
    return OnnxEncoder(image_file, text_file, n_threads=n_threads, providers=_CPU)
