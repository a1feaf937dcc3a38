"""The texts on which an import is proven: ordinary ones, and awkward ones of many kinds."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych_training.export.proof.photos import PhotoVariants, photographs

VERY_LONG = {  # longer than any context; here so that the file of texts stays readable
    "very long": ["a very long description of a photograph that goes on and on " * 40, "word " * 2000],
    "very long, chinese": ["一只猫坐在沙发上" * 200],
    "very long word": ["abcdefghij" * 500],
}


@dataclass(frozen=True)
class AwkwardText:
    """A text that cleaning and tokenising may treat differently, and why."""

    kind: str
    text: str


@cache
def ordinary_texts() -> tuple[str, ...]:
    """The captions of all photographs, then others; a correctly read tokenizer gives the library's ids."""
    captions = [caption for photograph in photographs() for caption in photograph.captions]
    return tuple(dict.fromkeys([*captions, *_listed()["general"]]))


def calibration_texts() -> tuple[str, ...]:
    """Texts for calibration, which the proof does not use."""
    return tuple(_listed()["calibration"])


def awkward_texts() -> tuple[AwkwardText, ...]:
    """HTML entities, emoji, combining marks, scripts, control characters, special tokens, and so on."""
    kinds = {**_listed()["awkward"], **VERY_LONG}
    return tuple(AwkwardText(kind, text) for kind, texts in kinds.items() for text in texts)


def relevance_of_texts(photos: PhotoVariants, n_images: int, texts: list[str]) -> NDArray[np.bool_]:
    """(N, M): a text fits every variant of the photograph that it is a caption of."""
    captions_of = [set(photograph.captions) for photograph in photographs()]
    rows = [[text in captions for text in texts] for captions in captions_of]
    return np.array([rows[photos.photograph_of(index)] for index in range(n_images)], dtype=np.bool_)


@cache
def _listed() -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(
        (files(__package__) / "proof_texts" / "texts.json").read_text(encoding="utf-8")
    )
    return listed
