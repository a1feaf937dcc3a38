"""The texts that an import is proven on: ordinary ones, and awkward ones of many kinds."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych_training.export.proof.photos import Photos, photographs

VERY_LONG = {  # longer than any context; the file of texts stays readable without them
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
    """The captions of all photographs, then others; any correct reading of a tokenizer gives the same ids."""
    captions = [caption for photograph in photographs() for caption in photograph.captions]
    return tuple(dict.fromkeys([*captions, *_listed()["general"]]))


def calibration_texts() -> tuple[str, ...]:
    """Texts that the proof does not see."""
    return tuple(_listed()["calibration"])


def awkward_texts() -> tuple[AwkwardText, ...]:
    """Entities, emoji, combining marks, scripts, control characters, special literals, and their like."""
    kinds = {**_listed()["awkward"], **VERY_LONG}
    return tuple(AwkwardText(kind, text) for kind, texts in kinds.items() for text in texts)


def right_texts(photos: Photos, n_images: int, texts: list[str]) -> NDArray[np.bool_]:
    """(N, M): a text is right for every variant of the photograph that it is a caption of."""
    captions_of = [set(photograph.captions) for photograph in photographs()]
    rows = [[text in captions for text in texts] for captions in captions_of]
    return np.array([rows[photos.photograph_of(index)] for index in range(n_images)], dtype=np.bool_)


@cache
def _listed() -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(
        (files(__package__) / "proof_texts" / "texts.json").read_text(encoding="utf-8")
    )
    return listed
