"""The proof set of an imported model: variants of the photographs that are freely licensed."""

from collections.abc import Iterable

from diptych.bundle.manifest import ImageSpec
from diptych_training.data.packed import PackedItem
from diptych_training.export.proof.photo_sample import PROOF_SET_SEED, prepare
from diptych_training.export.proof.photos import Photograph, PhotoVariants, photographs
from diptych_training.proof_set.pictures import encode_lossless, encode_photographs
from diptych_training.proof_set.proof_set import PROOF, ProofSet, ProofSource

LOSSY_FROM_PX = 128  # below, a picture takes less than about 10 kB without loss


def proof_set_of_photographs(spec: ImageSpec, n_images: int, texts: Iterable[str]) -> ProofSet:
    """`n_images` variants, prepared as `spec` says, as many of each photograph; none for rehearsal.

    `texts` that are captions of these photographs are left out of the set's further texts.
    """
    free = [photograph for photograph in photographs() if photograph.free]
    variants = PhotoVariants(free, PROOF_SET_SEED, max_side_px=2 * spec.size)
    sources = [
        _source(photograph, variants, range(number, n_images, len(free)), spec)
        for number, photograph in enumerate(free[:n_images])
    ]
    captions = {caption for photograph in free for caption in photograph.captions}
    further = dict.fromkeys(text for text in texts if text not in captions)
    return ProofSet("photographs", spec.size, tuple(sources), tuple(further))


def _source(photograph: Photograph, variants: PhotoVariants, numbers: range, spec: ImageSpec) -> ProofSource:
    """A source of its own for each photograph, since each has an author and a licence of its own."""
    name = photograph.path.stem
    label, *others = photograph.captions
    encode = encode_lossless if spec.size < LOSSY_FROM_PX else encode_photographs
    return ProofSource(
        name=name,
        split=PROOF,
        kind="pairs",
        licence=photograph.licence,
        author=photograph.author,
        items=tuple(PackedItem(f"{name}/{number}", label, captions=tuple(others)) for number in numbers),
        pictures=encode(prepare([variants[number] for number in numbers], spec)),
    )
