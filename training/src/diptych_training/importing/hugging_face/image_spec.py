"""Translate the settings of the library's image processor into a bundle's ImageSpec.

The library resizes, crops, then computes ``((pixel * rescale_factor + offset) - image_mean) / image_std``;
a bundle computes ``(pixel / 255 - mean) / std``. Both are linear: any factor is folded into mean and std.
"""

import math
from collections.abc import Iterable
from typing import Any, TypedDict

from PIL import Image
from pydantic import ValidationError

from diptych.bundle.manifest import ImageSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.hugging_face.families import Family
from diptych_training.importing.hugging_face.library import ImageProcessor, ModelConfig
from diptych_training.importing.hugging_face.processor import FLAGS

N_CHANNELS = 3


class _Geometry(TypedDict):
    size: int
    resize: int | None
    resize_mode: str


def read_image_spec(
    processor: ImageProcessor, vision_config: ModelConfig, family: Family, choices: Choices
) -> ImageSpec:
    """The processor's settings as a bundle's image spec.

    Raises ImportFailed for settings that a bundle cannot express, for a size that the model does not accept,
    and for a flag that contradicts the checkpoint.
    """
    _require_rgb(vision_config)
    if not processor.do_resize:
        raise ImportFailed(
            "do_resize is false: images of any size would reach the model, a bundle has one size"
        )
    if getattr(processor, "do_pad", None):
        raise ImportFailed("do_pad is true: padded images cannot be expressed in a bundle")
    geometry = _stored_geometry(processor)
    mean, std = _folded(processor)
    try:
        spec = ImageSpec(
            **geometry,
            mean=mean,
            std=std,
            interpolation=_interpolation(processor),
            crop="floor",  # the library halves the margin and rounds down
            alpha="white",  # the library composites transparent pixels over white
        )
    except ValidationError as error:
        raise ImportFailed(f"a bundle cannot express these image settings: {error}") from error
    _require_size(spec, vision_config, family, choices)
    _require_no_contradiction(spec, choices)
    return spec


def _require_rgb(vision_config: ModelConfig) -> None:
    if vision_config.num_channels != N_CHANNELS:
        raise ImportFailed(f"num_channels is {vision_config.num_channels}: a bundle's images are RGB")


def _stored_geometry(processor: ImageProcessor) -> _Geometry:
    wanted = dict(processor.size or {})
    crops = bool(getattr(processor, "do_center_crop", False))
    crop = _square_edge("crop_size", dict(processor.crop_size or {})) if crops else None
    if set(wanted) == {"shortest_edge"}:
        if crop is None:
            raise ImportFailed(
                f"size {wanted} without do_center_crop: images are not square, a bundle takes one square"
            )
        edge, mode = int(wanted["shortest_edge"]), "shortest"
    else:
        edge, mode = _square_edge("size", wanted), "squash"
    if crop is not None and crop > edge:
        raise ImportFailed(
            f"crop_size {crop} is larger than size {edge}: black margins cannot be expressed in a bundle"
        )
    size = edge if crop is None else crop
    return {"size": size, "resize": edge if edge != size else None, "resize_mode": mode}


def _square_edge(name: str, size: dict[str, Any]) -> int:
    if set(size) != {"height", "width"} or size["height"] != size["width"]:
        raise ImportFailed(f"{name} is {size}: a bundle takes one square")
    return int(size["height"])


def _folded(processor: ImageProcessor) -> tuple[list[float], list[float]]:
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    offset = -1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean = _by_channel(processor.image_mean) if processor.do_normalize else [0.0] * N_CHANNELS
    std = _by_channel(processor.image_std) if processor.do_normalize else [1.0] * N_CHANNELS
    if getattr(processor, "include_top", False):  # EfficientNet divides once more
        std = [a * b for a, b in zip(std, _by_channel(processor.image_std), strict=True)]
    if factor == 1 / 255 and offset == 0.0:
        return mean, std  # exactly the checkpoint's digits
    whole = factor * 255
    return [(value - offset) / whole for value in mean], [value / whole for value in std]


def _by_channel(value: float | Iterable[float] | None) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)] * N_CHANNELS
    values = [float(channel) for channel in value or ()]
    if len(values) != N_CHANNELS:
        raise ImportFailed(f"image_mean and image_std must have {N_CHANNELS} values, found {value}")
    return values


def _interpolation(processor: ImageProcessor) -> str:
    code = processor.resample
    # The library's default for null is bilinear.
    return (Image.Resampling.BILINEAR if code is None else Image.Resampling(int(code))).name.lower()


def _require_size(spec: ImageSpec, vision_config: ModelConfig, family: Family, choices: Choices) -> None:
    if family.fixed_image_size and spec.size != vision_config.image_size:
        raise ImportFailed(
            f"images are resized to {spec.size} pixels, the model's image_size is {vision_config.image_size}"
        )
    if choices.image_size not in (None, spec.size):
        raise ImportFailed(f"--image-size {choices.image_size}: the checkpoint takes {spec.size}")


def _require_no_contradiction(spec: ImageSpec, choices: Choices) -> None:
    """Raise ImportFailed for a flag that differs from the checkpoint: the vectors would not match."""
    for name, flag in FLAGS.items():
        given, found = getattr(choices, name), getattr(spec, name)
        if given is not None and not _same(given, found):
            raise ImportFailed(f"{flag} {given} contradicts the checkpoint, which says {found}")


def _same(given: Any, found: Any) -> bool:
    if isinstance(found, str):
        return bool(given == found)
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(given, found, strict=True))
