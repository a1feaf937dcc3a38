"""How open_clip prepares images, as the bundle's ImageSpec; handles no pixels."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from diptych.bundle.manifest import ImageSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.open_clip.architecture import Architecture

INTERPOLATIONS = ("bicubic", "bilinear")  # what the library knows at inference
RESIZE_MODES = ("shortest", "longest", "squash")


def image_spec(architecture: Architecture, image_size: Any, choices: Choices) -> ImageSpec:
    """The preprocessing that the checkpoint states, for images of the edge length that its tower takes.

    Raises ImportFailed naming the value that is missing, contradicted by `choices` or cannot be expressed.
    """
    stated = architecture.preprocess
    if stated.get("mode") != "RGB":
        raise ImportFailed(f"preprocess_cfg.mode is {stated.get('mode')}: only RGB images can be served")
    try:
        return ImageSpec(
            size=_square(image_size, choices),
            mean=_channels(_stated("mean", "--mean", stated, choices)),
            std=_channels(_stated("std", "--std", stated, choices)),
            interpolation=_one_of(INTERPOLATIONS, "interpolation", "--interpolation", stated, choices),
            resize_mode=_one_of(RESIZE_MODES, "resize_mode", "--resize-mode", stated, choices),
            fill_color=_channels(stated["fill_color"]),
            crop="round",
            alpha="drop",  # the library converts with PIL, which leaves transparency out
        )
    except ValidationError as error:
        raise ImportFailed(f"preprocess_cfg cannot be used: {error}") from error


def preprocess_config(spec: ImageSpec) -> dict[str, Any]:
    """The same in the library's terms, for its own transform."""
    keys = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
    return {key: getattr(spec, key) for key in keys}


def _square(size: Any, choices: Choices) -> int:
    height, width = size if isinstance(size, Sequence) else (size, size)
    if height != width:
        raise ImportFailed(f"images of {height} x {width} pixels: only square images can be served")
    if choices.image_size not in (None, height):
        raise ImportFailed(
            f"the checkpoint takes images of {height} pixels, --image-size is {choices.image_size}"
        )
    return int(height)


def _stated(key: str, flag: str, stated: dict[str, Any], choices: Choices) -> Any:
    said, own = getattr(choices, key), stated.get(key)
    if own is None and said is None:
        raise ImportFailed(f"nothing in the checkpoint says the image {key}: pass {flag}")
    if own is None or said is None:
        return own if said is None else said
    if _plain(own) != _plain(said):
        raise ImportFailed(f"the checkpoint's image {key} is {own}, {flag} says {said}")
    return own


def _one_of(allowed: Sequence[str], key: str, flag: str, stated: dict[str, Any], choices: Choices) -> Any:
    value = _stated(key, flag, stated, choices)
    if value not in allowed:
        raise ImportFailed(f"image {key} is {value}: must be one of {', '.join(allowed)}, say with {flag}")
    return value


def _channels(value: Any) -> Any:
    """The library takes one number for all three channels."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * 3


def _plain(value: Any) -> Any:
    return _channels(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
