"""Reference inputs and outputs that come with a bundle, and the check that a machine reproduces them."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, Encoder, InputIds, Pixels
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import COSINE_BOUNDS, ManifestDraft
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import CorruptBundle, GoldenMismatch

NORM_TOLERANCE = 1e-3  # above the fp16 rounding error of 1,024 summands
_ARRAYS = ("image_bytes", "image_ends", "pixels", "image_embedding", "texts", "input_ids", "text_embedding")


@dataclass(frozen=True)
class Golden:
    """N images and M texts with the embeddings that the float32 torch model gives them."""

    image_files: list[bytes]  # encoded files of mixed sizes and formats
    pixels: Pixels  # (N, S, S, 3)
    image_embedding: Embeddings  # (N, D)
    texts: list[str]
    input_ids: InputIds  # (M, L)
    text_embedding: Embeddings  # (M, D)


@dataclass(frozen=True)
class GoldenReport:
    """The lowest cosine of each tower."""

    image_cosine_min: float
    text_cosine_min: float


def write_golden(path: Path, golden: Golden) -> None:
    """Write a `.npz` of plain arrays: nothing in it needs pickle."""
    ends = np.cumsum([len(file) for file in golden.image_files], dtype=np.int64)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            image_bytes=np.frombuffer(b"".join(golden.image_files), dtype=np.uint8),
            image_ends=ends,
            pixels=golden.pixels,
            image_embedding=golden.image_embedding,
            texts=np.frombuffer(json.dumps(golden.texts).encode(), dtype=np.uint8),
            input_ids=golden.input_ids,
            text_embedding=golden.text_embedding,
        )


def read_golden(path: Path) -> Golden:
    """Read a golden file. Raises CorruptBundle if it is none, or its parts do not belong together."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            image_bytes, ends, pixels, image_embedding, texts, input_ids, text_embedding = (
                arrays[name] for name in _ARRAYS
            )
        golden = Golden(
            image_files=_split(image_bytes.tobytes(), ends.tolist()),
            pixels=pixels,
            image_embedding=image_embedding,
            texts=json.loads(texts.tobytes()),
            input_ids=input_ids,
            text_embedding=text_embedding,
        )
    except (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise CorruptBundle(f"{path.name}: not a golden file: {error}") from error
    _check_counts(path.name, golden)
    return golden


def check_golden(
    golden: Golden, manifest: ManifestDraft, precision: str, tokenizer: TextTokenizer, encoder: Encoder
) -> GoldenReport:
    """Check that this machine reproduces the references.

    Raises GoldenMismatch naming the item, its value and the bound.
    """
    bound = COSINE_BOUNDS[precision]
    _check_width("image", golden.image_embedding, manifest)
    _check_width("text", golden.text_embedding, manifest)
    _check_pixels(golden, manifest)
    _check_ids(golden, tokenizer)
    image_embedding = encoder.encode_image(golden.pixels)  # (N, D)
    text_embedding = encoder.encode_text(golden.input_ids)  # (M, D)
    return GoldenReport(
        image_cosine_min=_check_embedding("image", image_embedding, golden.image_embedding, bound),
        text_cosine_min=_check_embedding("text", text_embedding, golden.text_embedding, bound),
    )


def _split(joined: bytes, ends: Sequence[int]) -> list[bytes]:
    starts = [0, *ends[:-1]]
    return [joined[start:end] for start, end in zip(starts, ends, strict=True)]


def _check_counts(label: str, golden: Golden) -> None:
    images = len(golden.image_files), len(golden.pixels), len(golden.image_embedding)
    texts = len(golden.texts), len(golden.input_ids), len(golden.text_embedding)
    for kind, counts in (("image", images), ("text", texts)):
        if len(set(counts)) != 1 or not counts[0]:
            raise CorruptBundle(f"{label}: has {counts} {kind} inputs, prepared inputs and embeddings")


def _check_width(tower: str, reference: Embeddings, manifest: ManifestDraft) -> None:
    """Raises GoldenMismatch for rows that are not `embed_dim` wide: an index could never find them."""
    if reference.shape[1:] != (manifest.embed_dim,):
        raise GoldenMismatch(
            f"golden {tower}s: reference embeddings have shape {reference.shape}, "
            f"embed_dim of the manifest is {manifest.embed_dim}"
        )


def _check_pixels(golden: Golden, manifest: ManifestDraft) -> None:
    for index, payload in enumerate(golden.image_files):
        pixels = load_pixels(payload, manifest.image, ImageLimits())  # a bundle's files are trusted: no guard
        if pixels.shape != golden.pixels.shape[1:]:
            raise GoldenMismatch(
                f"golden images: prepared shape is {pixels.shape}, the reference {golden.pixels.shape[1:]}"
            )
        n_different = int(np.count_nonzero(pixels != golden.pixels[index]))
        if n_different:
            raise GoldenMismatch(
                f"golden image {index}: {n_different} of {pixels.size} prepared samples differ, bound is 0"
            )


def _check_ids(golden: Golden, tokenizer: TextTokenizer) -> None:
    input_ids = tokenizer(golden.texts).input_ids
    if input_ids.shape != golden.input_ids.shape:
        raise GoldenMismatch(
            f"golden texts: input_ids have shape {input_ids.shape}, the reference {golden.input_ids.shape}"
        )
    for index, (found, expected) in enumerate(zip(input_ids, golden.input_ids, strict=True)):
        if not np.array_equal(found, expected):
            raise GoldenMismatch(
                f"golden text {index}: input_ids are {found.tolist()}, the reference {expected.tolist()}"
            )


def _check_embedding(tower: str, found: Embeddings, expected: Embeddings, bound: float) -> float:
    """The lowest cosine between rows of two (N, D) arrays. Raises GoldenMismatch below the bound."""
    if found.shape != expected.shape:
        raise GoldenMismatch(
            f"golden {tower}s: embeddings have shape {found.shape}, the reference {expected.shape}"
        )
    norms: NDArray[np.float32] = np.linalg.norm(found, axis=1)
    worst_norm = float(np.max(np.abs(norms - 1)))
    if not worst_norm <= NORM_TOLERANCE:  # written so that NaN fails
        raise GoldenMismatch(
            f"golden {tower}s: norms differ from 1 by {worst_norm}, bound is {NORM_TOLERANCE}"
        )
    cosines = np.sum(found.astype(np.float64) * expected, axis=1) / norms
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= bound:
        raise GoldenMismatch(f"golden {tower} {worst}: cosine is {cosines[worst]:.6f}, bound is {bound}")
    return float(cosines[worst])
