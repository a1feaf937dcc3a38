"""The model that an evaluation measures: a trained run in torch, or a bundle as the server runs it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel
from torch import nn

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.encoder import Encoder, ImageEncoder
from diptych.bundle.manifest import ImageSpec, TextSpec, identity
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import PredictiveRun, TrainedRun, Which, load_predictive_run, load_run
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.scoring import Scorer
from diptych_training.evaluate.torch_encoder import Photographs, TorchEncoder
from diptych_training.run_folder import RunFolder

DEFAULT_PROMPTS = "default"


@dataclass(frozen=True)
class EvaluatedModel:
    """A model ready to embed images and texts, with the prompt templates for its class names.

    Scores are a softmax of cosines times `logit_scale`. `identity` is a sha256 over everything that decides
    the embeddings: what is derived from them can be kept under it.
    """

    name: str
    identity: str
    runtime: str
    encoder: Encoder
    tokenizer: TextTokenizer
    image_spec: ImageSpec
    templates: tuple[str, ...]
    logit_scale: float


@dataclass(frozen=True)
class ScoredModel:
    """A run whose objective has no text tower: it scores names instead of embedding them.

    `encoder` embeds images, for what learns from examples. Scores are logarithms of probabilities.
    """

    name: str
    identity: str
    scorer: Scorer
    encoder: ImageEncoder
    image_spec: ImageSpec
    templates: tuple[str, ...]
    runtime: str = "torch"
    logit_scale: float = 1.0


def open_evaluated_run(
    run_dir: Path, which: Which, prompts: str = DEFAULT_PROMPTS, *, last_by: str | None = None
) -> "EvaluatedModel | ScoredModel":
    """Load a checkpoint of any training run for evaluation, through torch in float32."""
    predictive = load_predictive_run(run_dir, which, last_by=last_by)
    if predictive is None:
        return load_evaluated_run(run_dir, which, prompts, last_by=last_by)
    templates = _templates(predictive.text_spec, prompts)
    return ScoredModel(
        name=run_title(run_dir, which, predictive.step),
        identity=_scored_identity(predictive, RunFolder(run_dir)),
        scorer=Scorer(predictive.model, predictive.image_spec, templates),
        encoder=TorchEncoder(predictive.model, predictive.image_spec),
        image_spec=predictive.image_spec,
        templates=templates,
    )


def load_evaluated_run(
    run_dir: Path, which: Which, prompts: str = DEFAULT_PROMPTS, *, last_by: str | None = None
) -> EvaluatedModel:
    """Load a checkpoint of a training run for evaluation, through torch in float32."""
    run = load_run(run_dir, which, last_by=last_by)
    return evaluated_run(run, run_title(run_dir, which, run.step), prompts)


def evaluated_run(
    run: TrainedRun, title: str, prompts: str = DEFAULT_PROMPTS, photographs: Photographs | None = None
) -> EvaluatedModel:
    """Wrap a loaded run with its current weights for evaluation, through torch in float32."""
    return EvaluatedModel(
        name=title,
        identity=_run_identity(run),
        runtime="torch",
        encoder=TorchEncoder(run.model, run.image_spec, photographs),
        tokenizer=TextTokenizer(run.tokenizer_file, run.text_spec),
        image_spec=run.image_spec,
        templates=_templates(run.text_spec, prompts),
        logit_scale=math.exp(float(run.model.logit_scale.detach())),
    )


def run_title(run_dir: Path, which: Which, step: int) -> str:
    """The name of a run in an evaluation; an export recognises its own evaluation by it."""
    return f"{run_dir.resolve().name} ({which}, step {step})"


def load_evaluated_bundle(
    repository: ModelRepository,
    name: str,
    version: int,
    *,
    precision: str = "fp32",
    prompts: str = DEFAULT_PROMPTS,
    n_threads: int = 0,
) -> EvaluatedModel:
    """Open one precision of a verified bundle as the server runs it, through onnxruntime."""
    manifest = repository.verify(name, version)
    if precision not in manifest.precisions:
        known = ", ".join(sorted(manifest.precisions))
        raise EvaluationError(f"{name}/{version} has no precision {precision!r}, it has: {known}")
    folder = repository.folder(name, version)
    files = manifest.precisions[precision]
    image_file, text_file = folder / files.image_file, folder / files.text_file
    encoder = OnnxEncoder(image_file, text_file, n_threads=n_threads)
    return EvaluatedModel(
        name=f"{name}/{version} ({precision})",
        identity=identity(manifest, precision, "exact"),
        runtime=f"onnxruntime {encoder.provider}",
        encoder=encoder,
        tokenizer=TextTokenizer(folder / "tokenizer.json", manifest.text),
        image_spec=manifest.image,
        templates=_templates(manifest.text, prompts),
        logit_scale=manifest.logit_scale,
    )


def named_bundle(repository: ModelRepository, named: str) -> tuple[str, int]:
    """Name and version of ``NAME/VERSION``, or of ``NAME``: the latest version with ONNX graphs.

    Raises EvaluationError, NotFound.
    """
    name, _, version = named.partition("/")
    if version and not version.isdecimal():
        raise EvaluationError(f"{named}: the version is {version!r}, it must be a number")
    return name, int(version) if version else repository.latest(name)


def _run_identity(run: TrainedRun) -> str:
    tables = (run.model_config, run.image_spec, run.text_spec)
    return _identity(tables, run.tokenizer_file.read_bytes(), run.model)


def _scored_identity(run: PredictiveRun, folder: RunFolder) -> str:
    assert run.config.predictive is not None
    tables = (run.config.model, run.image_spec, run.text_spec, run.config.predictive)
    dictionary = repr(run.model.objective.dictionary).encode()
    return _identity(tables, folder.tokenizer_file.read_bytes() + dictionary, run.model)


def _identity(tables: Sequence[BaseModel], files: bytes, model: nn.Module) -> str:
    digest = sha256("\n".join(table.model_dump_json() for table in tables).encode())
    digest.update(files)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _templates(text_spec: TextSpec, prompts: str) -> tuple[str, ...]:
    if prompts not in text_spec.prompts:
        known = ", ".join(sorted(text_spec.prompts))
        raise EvaluationError(f"the model has no template set {prompts!r}, it has: {known}")
    return tuple(text_spec.prompts[prompts])
