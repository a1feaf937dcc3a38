"""A proof set of a few random drawings, and the file of one, without a data set."""

import numpy as np

from diptych_training.data.packed import PackedItem, Split
from diptych_training.evaluate.proof_set.pictures import encode_lossless
from diptych_training.evaluate.proof_set.proof_set import ProofSet, ProofSource

SIZE = 16


def tiny_source(name: str, split: Split, n: int) -> ProofSource:
    """N drawings of two colours each."""
    rng = np.random.default_rng(len(name))
    blocks = rng.integers(0, 256, (n, 2, 2, 3), np.uint8)
    images = np.kron(blocks, np.ones((1, SIZE // 2, SIZE // 2, 1), np.uint8))
    items = tuple(
        PackedItem(f"{name}/{index}", f"thing {index} é", ("a", "b"), (f"drawing of thing {index}",), 0.5)
        for index in range(n)
    )
    return ProofSource(name, split, "icons", "MIT", "somebody", items, encode_lossless(images))


def tiny_proof_set(*, has_rehearsal: bool = True, texts: tuple[str, ...] = ()) -> ProofSet:
    """Two sources for the proof, and one for rehearsal."""
    sources = [tiny_source("one", "validation", 4), tiny_source("other", "validation", 3)]
    sources += [tiny_source("old", "train", 2)] if has_rehearsal else []
    return ProofSet("tiny", SIZE, tuple(sources), texts)
