"""Read a model that was trained by this package, from a run or from a bundle."""

from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import ValidationError
from tokenizers import Tokenizer

from diptych.bundle.encoder import Embeddings
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    ImageSpec,
    Manifest,
    TextSpec,
    read_manifest,
)
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import load_run
from diptych_training.errors import ImportFailed
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.onnx.bundle_files import MODEL_FILE, WEIGHTS_FILE, logit_bias
from diptych_training.importing.common.folder_files import UNKNOWN, agreed_licence
from diptych_training.importing.common.imported_model import (
    Choices,
    Conversion,
    ImportedModel,
    require_bias,
    scale_of_logarithm,
)
from diptych_training.importing.common.weight_files import read_weights
from diptych_training.importing.manifest import NO_WEIGHTS
from diptych_training.models import CLIP, ModelConfig, build_model
from diptych_training.run_folder import RunFolder

LIBRARY = "diptych-training"
STATED = {
    "context_length": "--context-length",
    "image_size": "--image-size",
    "mean": "--mean",
    "std": "--std",
    "interpolation": "--interpolation",
    "resize_mode": "--resize-mode",
    "architecture": "--architecture",
    "tokenizer": "--tokenizer",
}
LIMITS = ImageLimits()


class OwnEncoder:
    """Our own preprocessing, tokenizer and model in torch; implements `LibraryEncoder`."""

    def __init__(self, model: CLIP, image: ImageSpec, tokenizer: TextTokenizer) -> None:
        self._encoder, self._image, self._tokenizer = TorchEncoder(model, image), image, tokenizer

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright RGB images -> (N, D)."""
        return self._encoder.encode_image(
            np.stack([preprocess(image, self._image, LIMITS) for image in images])
        )

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D)."""
        return self._encoder.encode_text(self._tokenizer(texts).input_ids)

    def input_ids(self, text: str) -> list[int]:
        """Token ids of one text, without padding."""
        ids: list[int] = self._tokenizer.ids(text)[0].tolist()
        return ids


def is_own_run(folder: Path) -> bool:
    """True for a run folder of `diptych-train train`."""
    run = RunFolder(folder)
    return run.model_file.is_file() and run.image_spec_file.is_file() and run.text_spec_file.is_file()


def is_own_bundle(folder: Path) -> bool:
    """True for a version folder of a model repository."""
    return (folder / MANIFEST_FILE).is_file()


def load_own_run(folder: Path, choices: Choices) -> ImportedModel:
    """Read the best checkpoint of a run. Raises CheckpointError, ImportFailed."""
    _require_no_flags(f"run {folder.resolve().name}", choices)
    run = load_run(folder, "best")
    return _own(
        run.model,
        run.image_spec,
        run.text_spec,
        run.tokenizer_file,
        "siglip" if run.config.loss == "sigmoid" else "clip",
        source={"run": folder.resolve().name, "checkpoint": "best", "step": run.step},
        licence=choices.licence or UNKNOWN,
    )


def missing_weights(manifest: Manifest) -> str:
    """Why a bundle without weights has none, as the beginning of an error message."""
    reason = manifest.extra.get(NO_WEIGHTS, "it was imported by an earlier release")
    return f"{manifest.name}/{manifest.version} holds no weights to train from: {reason}"


def load_own_bundle(folder: Path, choices: Choices) -> ImportedModel:
    """Read a bundle that holds its weights. Raises ImportFailed, InvalidManifest."""
    manifest = read_manifest(folder)
    _require_no_flags(f"bundle {manifest.name}/{manifest.version}", choices)
    licence = agreed_licence(manifest.licence, choices.licence, MANIFEST_FILE)
    if not (folder / WEIGHTS_FILE).is_file() or not (folder / MODEL_FILE).is_file():
        raise ImportFailed(f"{missing_weights(manifest)}; import its original again")
    return _own(
        _rebuild(folder),
        manifest.image,
        manifest.text,
        folder / TOKENIZER_FILE,
        manifest.family,
        source={"bundle": f"{manifest.name}/{manifest.version}", "made_from": manifest.source},
        licence=licence,
        matryoshka_dimensions=manifest.matryoshka_dimensions,
    )


def _require_no_flags(what: str, choices: Choices) -> None:
    """Raise ImportFailed naming flags for settings that our own files state."""
    passed = [flag for name, flag in STATED.items() if getattr(choices, name) is not None]
    if passed:
        raise ImportFailed(
            f"{what} was made by diptych and states these settings: leave {', '.join(passed)} out"
        )


def _own(
    model: CLIP,
    image: ImageSpec,
    text: TextSpec,
    tokenizer_file: Path,
    family: Literal["clip", "siglip"],
    *,
    source: dict[str, object],
    licence: str,
    matryoshka_dimensions: tuple[int, ...] = (),
) -> ImportedModel:
    return ImportedModel(
        family=family,
        embed_dim=model.config.embed_dim,
        logit_scale=scale_of_logarithm("logit_scale", float(model.logit_scale.detach())),
        logit_bias=require_bias("logit_bias", logit_bias(model)) if family == "siglip" else 0.0,
        image=image,
        text=text,
        tokenizer=Tokenizer.from_file(str(tokenizer_file)),
        model=model,
        library=OwnEncoder(model, image, TextTokenizer(tokenizer_file, text)),
        conversion=Conversion(model.config, model.state_dict()),
        source={"kind": "import", "library": LIBRARY, "library_version": version_of(LIBRARY), **source},
        licence=licence,
        matryoshka_dimensions=matryoshka_dimensions,
    )


def _rebuild(folder: Path) -> CLIP:
    try:
        model = build_model(_model_config(folder / MODEL_FILE))
        model.load_state_dict(read_weights(folder / WEIGHTS_FILE))
    except RuntimeError as error:
        raise ImportFailed(f"{folder.name}/{WEIGHTS_FILE} does not fit {MODEL_FILE}: {error}") from error
    return model.eval()


def _model_config(path: Path) -> ModelConfig:
    try:
        return ModelConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ImportFailed(f"{path.name}: {error}") from error
