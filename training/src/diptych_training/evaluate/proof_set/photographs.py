"""Proof sets with photographs: crops of those that are openly licensed, apart by photograph.

A model that knows photographs and drawings has both: crops of the photographs of split `proof` to prove and
to judge on, and of those of split `rehearsal` to rehearse and to calibrate with. An imported model has
nothing but variants of the photographs of split `proof` that installed packages have.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import PackedItem, Split
from diptych_training.data.photographs.listed import (
    ListedPhotograph,
    listed_photographs,
    proof_folder,
    read_photograph,
)
from diptych_training.data.photographs.proof_command import on_white
from diptych_training.evaluate.proof_set.photos import (
    PROOF_SET_SEED,
    PhotoVariants,
    photographs,
    prepare,
    shared_photographs,
)
from diptych_training.evaluate.proof_set.pictures import decode_picture, encode_lossless, encode_photographs
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL, ProofSet, ProofSource

LOSSY_FROM_PX = 128  # below, a picture takes less than about 10 kB without loss
# Crops of photographs next to the drawings of a model that knows both.
N_BESIDE_DRAWINGS: dict[Split, int] = {PROOF: 200, REHEARSAL: 60}
MAX_SIDE_PX = 1024  # larger photographs are reduced before they are cropped
MIN_CROP = 0.6  # of both sides of the photograph: it still shows what its name says


def proof_set_of_photographs(spec: ImageSpec, n_images: int, texts: Iterable[str]) -> ProofSet:
    """`n_images` variants, prepared as `spec` says, as many of each photograph; none for rehearsal.

    `texts` that are captions of these photographs are left out of the set's further texts.
    """
    shared = shared_photographs()
    variants = PhotoVariants(shared, PROOF_SET_SEED, max_side_px=2 * spec.size)

    def images(number: int, numbers: Sequence[int]) -> list[Image.Image]:
        return [variants[index] for index in numbers]

    sources = _sources([one.listed for one in shared], n_images, PROOF, spec, images)
    captions = {caption for photograph in shared for caption in photograph.captions}
    further = dict.fromkeys(text for text in texts if text not in captions)
    return ProofSet("photographs", spec.size, sources, tuple(further))


def with_photographs(drawings: ProofSet, spec: ImageSpec) -> ProofSet:
    """Drawings and photographs at the size of `spec`, both for the proof and to rehearse and calibrate with.

    `spec.size` must be a multiple of the drawings' size, whose pixels become blocks of equal ones. Raises
    DataError if a photograph is missing.
    """
    times, rest = divmod(spec.size, drawings.image_size)
    assert rest == 0
    enlarged = [
        replace(source, pictures=_enlarged(source.pictures, drawings.image_size, times))
        for source in drawings.sources
    ]
    added = [one for split, n in N_BESIDE_DRAWINGS.items() for one in cropped_photographs(n, split, spec)]
    return ProofSet(drawings.name, spec.size, (*enlarged, *added), drawings.texts)


def require_photographs() -> None:
    """Raise DataError if a listed photograph that `with_photographs` needs is missing."""
    for one in listed_photographs():
        if one.is_shared:
            read_photograph(one, proof_folder())


def crop(image: Image.Image, seed: int, number: int) -> Image.Image:
    """Crop `number` of a photograph: the first is all of it, the others are parts, half of them mirrored."""
    if number == 0:
        return image
    rng = np.random.default_rng((seed, number))
    width, height = (round(side * rng.uniform(MIN_CROP, 1)) for side in image.size)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    part = image.crop((left, top, left + width, top + height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _enlarged(pictures: Iterable[bytes], size: int, times: int) -> tuple[bytes, ...]:
    decode = partial(decode_picture, stored_size=size, size=size)
    return encode_lossless(
        np.stack([decode(picture).repeat(times, axis=0).repeat(times, axis=1) for picture in pictures])
    )


def cropped_photographs(n_images: int, split: Split, spec: ImageSpec) -> tuple[ProofSource, ...]:
    """`n_images` crops of the listed photographs of a split, prepared as `spec` says.

    Raises DataError if a photograph is missing.
    """
    listed = [one for one in listed_photographs("proof" if split == PROOF else "rehearsal") if one.is_shared]

    def images(number: int, numbers: Sequence[int]) -> list[Image.Image]:
        with Image.open(BytesIO(read_photograph(listed[number], proof_folder()))) as opened:
            opened.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
            image = on_white(opened)
        return [crop(image, number, index // len(listed)) for index in numbers]

    return _sources(listed, n_images, split, spec, images)


def _sources(
    listed: Sequence[ListedPhotograph],
    n_images: int,
    split: Split,
    spec: ImageSpec,
    images: Callable[[int, Sequence[int]], list[Image.Image]],
) -> tuple[ProofSource, ...]:
    """A source of its own for each photograph, since each has an author and a licence of its own.

    Picture i is of photograph i modulo their number; `images` gives those of one photograph.
    """
    captions = {one.listed: one.captions[1:] for one in photographs()}
    encode = encode_lossless if spec.size < LOSSY_FROM_PX else encode_photographs
    return tuple(
        ProofSource(
            name=one.title,
            split=split,
            kind="pairs",
            licence=one.licence,
            author=one.author,
            items=tuple(
                PackedItem(f"{one.title}/{index}", one.name, captions=captions.get(one, ()))
                for index in numbers
            ),
            pictures=encode(prepare(images(number, numbers), spec)),
        )
        for number, one in enumerate(listed)
        if (numbers := range(number, n_images, len(listed)))
    )
