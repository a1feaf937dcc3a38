"""Thousands of real images of all sizes, and texts, on which imported models are proven.

The images are variants of the photographs that scikit-image and scikit-learn ship, so nothing is downloaded.
Image n is always the same. The texts are ordinary ones, and awkward ones of many kinds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import ImageSpec
from diptych_training.data.photographs.listed import (
    ListedPhotograph,
    PhotographSplit,
    listed_photographs,
    photograph_file,
)
from diptych_training.errors import DataError, ImportFailed

# Range of the longer side in pixels, and its share: below every model's own size, around it, and far above.
SIDES_PX: tuple[tuple[int, int, float], ...] = (
    (8, 63, 0.12), (64, 223, 0.35), (224, 512, 0.38), (513, 1000, 0.1), (1001, 1500, 0.05),
)  # fmt: skip
EXTREME_SHARE, MAX_ASPECT = 0.15, 30.0  # strips of up to 1:30
MIN_SIDE_PX = 4  # libraries mistake an image of height 1 or 3 for channels-first
GRAY_SHARE, PALETTE_SHARE, DARK_SHARE = 0.1, 0.1, 0.05
TRANSPOSES = (None, *Image.Transpose)
PROOF_SEED, CALIBRATION_SEED, GOLDEN_SEED, PROOF_SET_SEED = range(4)
LIMITS = ImageLimits()


@dataclass(frozen=True)
class Photograph:
    """A listed photograph of an installed package: its file, and captions that fit it, its name first."""

    listed: ListedPhotograph
    path: Path
    captions: tuple[str, ...]


@cache
def photographs(split: PhotographSplit | None = None) -> tuple[Photograph, ...]:
    """The photographs of installed packages, all or those of one split.

    Raises ImportFailed if a package or one of its files is missing.
    """
    captions = json.loads((files(__package__) / "proof_texts" / "photographs.json").read_text("utf-8"))
    return tuple(
        Photograph(listed, _locate(listed), (listed.name, *captions[listed.file]))
        for listed in listed_photographs(split)
        if listed.is_installed
    )


def shared_photographs() -> list[Photograph]:
    """Those of split `proof` that the proof set of an import may have."""
    return [photograph for photograph in photographs("proof") if photograph.listed.is_shared]


class PhotoVariants:
    """Variants of photographs by number: crops, sizes, shapes, gray, palette, rotated, mirrored.

    Different seeds give different variants. Only the opened photographs are kept in memory.
    """

    def __init__(self, of: Sequence[Photograph], seed: int, *, max_side_px: int = 1500) -> None:
        self._photographs, self._seed, self._max_side_px = of, seed, max_side_px
        self._opened: dict[int, Image.Image] = {}

    def photograph_of(self, index: int) -> int:
        """Return the photograph that variant `index` shows."""
        return index % len(self._photographs)

    def captions_of(self, index: int) -> tuple[str, ...]:
        """Return the captions of variant `index`."""
        return self._photographs[self.photograph_of(index)].captions

    def __getitem__(self, index: int) -> Image.Image:
        """Variant `index` as an upright 8-bit RGB image."""
        rng = np.random.default_rng((self._seed, index))
        number = self.photograph_of(index)
        width, height = _size(rng, self._max_side_px)
        cut = self._open(number).resize(
            (width, height), Image.Resampling.BICUBIC, box=_box(rng, self._open(number).size, width / height)
        )
        turn = TRANSPOSES[rng.integers(len(TRANSPOSES))]
        return _recolor(rng, cut if turn is None else cut.transpose(turn))

    def _open(self, number: int) -> Image.Image:
        if number not in self._opened:
            with Image.open(self._photographs[number].path) as image:
                self._opened[number] = image.convert("RGB")
        return self._opened[number]


def prepare(images: Sequence[Image.Image], spec: ImageSpec) -> Pixels:
    """N images of any size -> (N, S, S, 3) uint8, preprocessed according to `spec`."""
    return np.stack([preprocess(image, spec, LIMITS) for image in images])


def _locate(listed: ListedPhotograph) -> Path:
    try:
        path = photograph_file(listed, Path())
    except DataError as error:
        raise ImportFailed(f"the proof needs photographs of installed packages: {error}") from error
    if not path.is_file():
        raise ImportFailed(
            f"{path} is missing: the proof needs this photograph, which {listed.package} used to ship"
        )
    return path


def _size(rng: np.random.Generator, max_side_px: int) -> tuple[int, int]:
    """Width and height; odd and even sizes occur, so that a rounded and a floored crop margin differ."""
    low, high, _ = SIDES_PX[rng.choice(len(SIDES_PX), p=[share for *_, share in SIDES_PX])]
    long = min(int(rng.integers(low, high + 1)), max_side_px)
    aspect = rng.uniform(4, MAX_ASPECT) if rng.random() < EXTREME_SHARE else rng.uniform(1, 2)
    short = max(MIN_SIDE_PX, round(long / aspect))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _box(rng: np.random.Generator, size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    """A part of the photograph with that aspect ratio: at least a third of the largest one."""
    width, height = size
    share = rng.uniform(0.33, 1)
    cut_width = share * min(width, height * aspect)
    cut_height = cut_width / aspect
    left, top = rng.uniform(0, width - cut_width), rng.uniform(0, height - cut_height)
    return left, top, min(left + cut_width, width), min(top + cut_height, height)


def _recolor(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    kind = rng.random()
    if kind < GRAY_SHARE:
        return image.convert("L").convert("RGB")
    if kind < GRAY_SHARE + PALETTE_SHARE:
        return image.quantize(int(rng.integers(2, 65))).convert("RGB")
    if kind < GRAY_SHARE + PALETTE_SHARE + DARK_SHARE:
        return Image.eval(image, lambda value: value // 4)
    return image


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
    rows = [[text in photos.captions_of(index) for text in texts] for index in range(n_images)]
    return np.array(rows, dtype=np.bool_)


@cache
def _listed() -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(
        (files(__package__) / "proof_texts" / "texts.json").read_text(encoding="utf-8")
    )
    return listed
