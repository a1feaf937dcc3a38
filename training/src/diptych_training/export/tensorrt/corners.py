"""Compare a plan's embeddings at the corners of its optimisation profiles with those of single items.

TensorRT chooses kernels for each profile, so a plan may be correct for one shape and wrong for another.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, Encoder, InputIds
from diptych.bundle.manifest import TextSpec
from diptych.bundle.tensorrt_build import Extent, Profile, TensorrtBuild
from diptych.bundle.text.tokenizer import pad
from diptych_training.export.proof.parity import ParitySample, row_cosines

N_ITEMS = 16  # distinct items; larger batches repeat them

Rows = Sequence[NDArray[np.int32]]


def profile_cosine_min(encoder: Encoder, sample: ParitySample, spec: TextSpec, build: TensorrtBuild) -> float:
    """The lowest cosine between an item alone and the same item in batches of the profiles' sizes."""
    return min(_image_cosine_min(encoder, sample, build), _text_cosine_min(encoder, sample, spec, build))


def _image_cosine_min(encoder: Encoder, sample: ParitySample, build: TensorrtBuild) -> float:
    pixels = sample.pixels[: min(N_ITEMS, len(sample.pixels))]
    alone = np.concatenate([encoder.encode_image(pixels[n : n + 1]) for n in range(len(pixels))])
    lows = [1.0]
    for size in _sizes(profile.batch for profile in build.image_profiles):
        chosen = np.arange(size) % len(pixels)
        lows.append(_min_cosine(encoder.encode_image(pixels[chosen]), alone[chosen]))
    return min(lows)


def _text_cosine_min(encoder: Encoder, sample: ParitySample, spec: TextSpec, build: TensorrtBuild) -> float:
    rows = sample.input_ids[:N_ITEMS]
    alone = np.concatenate([encoder.encode_text(pad([row], spec)) for row in rows])
    lows = [1.0]
    for size, length in _text_shapes(build.text_profiles):
        fitting = [n for n, row in enumerate(rows) if len(row) <= length]
        if fitting:
            chosen = [fitting[n % len(fitting)] for n in range(size)]
            batch = _padded([rows[n] for n in chosen], spec, length)
            lows.append(_min_cosine(encoder.encode_text(batch), alone[chosen]))
    return min(lows)


def _text_shapes(profiles: Sequence[Profile]) -> Iterator[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for profile in profiles:
        assert profile.length is not None, "the manifest requires it"
        lengths = _sizes([profile.length])
        found.update((size, length) for size in _sizes([profile.batch]) for length in lengths)
    yield from sorted(found)


def _sizes(extents: "Iterator[Extent] | Sequence[Extent]") -> list[int]:
    return sorted({size for one in extents for size in (one.min, one.opt, one.max)})


def _padded(rows: Rows, spec: TextSpec, length: int) -> InputIds:
    """(B, `length`): texts that are padded to their longest may have more padding."""
    batch = pad(rows, spec)
    fill = np.full((len(batch), max(0, length - batch.shape[1])), spec.pad_id, np.int32)
    return np.concatenate([batch, fill], axis=1)


def _min_cosine(found: Embeddings, expected: Embeddings) -> float:
    return float(row_cosines(expected, found).min())
