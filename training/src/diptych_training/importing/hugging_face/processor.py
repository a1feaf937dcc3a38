"""Load the library's PIL image processor for a checkpoint."""

from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_processing_backends import PilBackend
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.hugging_face.families import Family
from diptych_training.importing.hugging_face.library import (
    IMAGE_PROCESSOR_FILE,
    ImageProcessor,
    ModelConfig,
    says_how_to_prepare_images,
)

FLAGS = {"mean": "--mean", "std": "--std", "interpolation": "--interpolation", "resize_mode": "--resize-mode"}
# Methods that must be the library's common ones: only then do the settings describe the processing.
STEPS = ("_preprocess", "resize", "center_crop", "rescale", "normalize")


def load_processor(folder: Path, config: ModelConfig, family: Family, choices: Choices) -> ImageProcessor:
    """The checkpoint's processor, or one made from the user's choices if the checkpoint has none.

    Keys that the checkpoint's file omits have the default of the processor's class, as in the library.
    Raises ImportFailed naming the flags that are needed, or a processor with steps of its own.
    """
    if says_how_to_prepare_images(folder):
        processor = _stored_processor(folder, config)
    else:
        processor = _processor_from_choices(folder, config, family, choices)
    _require_known_steps(processor)
    return processor


def _stored_processor(folder: Path, config: ModelConfig) -> ImageProcessor:
    loader: Any = AutoImageProcessor
    try:
        processor = loader.from_pretrained(
            str(folder), config=config, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises many kinds
        raise ImportFailed(f"{folder.name}: transformers cannot read the image processor: {error}") from error
    if not isinstance(processor, PilBackend):
        raise ImportFailed(
            f"image processor {type(processor).__name__} has no PIL implementation in transformers"
        )
    return processor


def _processor_from_choices(
    folder: Path, config: ModelConfig, family: Family, choices: Choices
) -> ImageProcessor:
    size = choices.image_size or (config.vision_config.image_size if family.fixed_image_size else None)
    missing = [flag for name, flag in FLAGS.items() if getattr(choices, name) is None]
    if size is None:
        missing.append("--image-size")
    if missing:
        raise ImportFailed(
            f"{folder.name} has no {IMAGE_PROCESSOR_FILE}, so image preprocessing is unknown; "
            f"pass {', '.join(missing)}"
        )
    settings: dict[str, Any] = {
        "image_mean": list(choices.mean or ()),
        "image_std": list(choices.std or ()),
        "resample": _resampling(choices.interpolation or ""),
    }
    return CLIPImageProcessorPil(**_geometry(size, choices.resize_mode), **settings)


def _geometry(size: Any, resize_mode: str | None) -> dict[str, Any]:
    square = {"height": size, "width": size}
    match resize_mode:
        case "shortest":
            return {"size": {"shortest_edge": size}, "crop_size": square}
        case "squash":
            return {"size": square, "do_center_crop": False}
        case _:
            raise ImportFailed(
                f"--resize-mode {resize_mode}: must be shortest or squash for a checkpoint of transformers"
            )


def _resampling(name: str) -> Image.Resampling:
    if name.upper() not in Image.Resampling.__members__:
        known = ", ".join(member.lower() for member in Image.Resampling.__members__)
        raise ImportFailed(f"--interpolation {name}: must be one of {known}")
    return Image.Resampling[name.upper()]


def _require_known_steps(processor: ImageProcessor) -> None:
    """Raise ImportFailed for a subclass that replaces a step, since `image_spec` cannot describe it."""
    kind = type(processor)
    plain = all(getattr(kind, step) is getattr(PilBackend, step) for step in STEPS)
    if not plain and kind is not EfficientNetImageProcessorPil:
        raise ImportFailed(f"image processor {kind.__name__} has steps that a bundle cannot express")
