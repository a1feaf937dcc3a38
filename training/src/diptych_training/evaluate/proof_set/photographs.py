"""Proof sets with photographs: variants of those that are freely licensed.

An imported model has nothing else; a model that knows photographs and drawings has both.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import PackedItem, Split
from diptych_training.evaluate.proof_set.photos import (
    PROOF_SET_SEED,
    REHEARSAL_SEED,
    Photograph,
    PhotoVariants,
    photographs,
    prepare,
)
from diptych_training.evaluate.proof_set.pictures import decode_picture, encode_lossless, encode_photographs
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL, ProofSet, ProofSource

LOSSY_FROM_PX = 128  # below, a picture takes less than about 10 kB without loss
# Variants of photographs next to the drawings of a model that knows both.
N_BESIDE_DRAWINGS: dict[Split, int] = {PROOF: 200, REHEARSAL: 60}
SEEDS: dict[Split, int] = {PROOF: PROOF_SET_SEED, REHEARSAL: REHEARSAL_SEED}


def proof_set_of_photographs(spec: ImageSpec, n_images: int, texts: Iterable[str]) -> ProofSet:
    """`n_images` variants, prepared as `spec` says, as many of each photograph; none for rehearsal.

    `texts` that are captions of these photographs are left out of the set's further texts.
    """
    sources = _sources(n_images, PROOF, spec)
    captions = {caption for photograph in _free() for caption in photograph.captions}
    further = dict.fromkeys(text for text in texts if text not in captions)
    return ProofSet("photographs", spec.size, sources, tuple(further))


def with_photographs(drawings: ProofSet, spec: ImageSpec) -> ProofSet:
    """Drawings and photographs at the size of `spec`, both for the proof and to rehearse and calibrate with.

    `spec.size` must be a multiple of the drawings' size, whose pixels become blocks of equal ones.
    """
    times, rest = divmod(spec.size, drawings.image_size)
    assert rest == 0
    enlarged = [
        replace(source, pictures=_enlarged(source.pictures, drawings.image_size, times))
        for source in drawings.sources
    ]
    added = [one for split, n in N_BESIDE_DRAWINGS.items() for one in _sources(n, split, spec)]
    return ProofSet(drawings.name, spec.size, (*enlarged, *added), drawings.texts)


def _enlarged(pictures: Iterable[bytes], size: int, times: int) -> tuple[bytes, ...]:
    decode = partial(decode_picture, stored_size=size, size=size)
    return encode_lossless(
        np.stack([decode(picture).repeat(times, axis=0).repeat(times, axis=1) for picture in pictures])
    )


def _free() -> list[Photograph]:
    return [photograph for photograph in photographs() if photograph.free]


def _sources(n_images: int, split: Split, spec: ImageSpec) -> tuple[ProofSource, ...]:
    free = _free()
    variants = PhotoVariants(free, SEEDS[split], max_side_px=2 * spec.size)
    return tuple(
        _source(photograph, variants, range(number, n_images, len(free)), split, spec)
        for number, photograph in enumerate(free[:n_images])
    )


def _source(
    photograph: Photograph, variants: PhotoVariants, numbers: range, split: Split, spec: ImageSpec
) -> ProofSource:
    """A source of its own for each photograph, since each has an author and a licence of its own."""
    name = photograph.path.stem if split == PROOF else f"{photograph.path.stem}-rehearsed"
    label, *others = photograph.captions
    encode = encode_lossless if spec.size < LOSSY_FROM_PX else encode_photographs
    return ProofSource(
        name=name,
        split=split,
        kind="pairs",
        licence=photograph.licence,
        author=photograph.author,
        items=tuple(PackedItem(f"{name}/{number}", label, captions=tuple(others)) for number in numbers),
        pictures=encode(prepare([variants[number] for number in numbers], spec)),
    )
