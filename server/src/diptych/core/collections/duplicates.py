"""Fold the hits of a search that are duplicates of a better hit into that hit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import Duplicate, Embeddings, Hit, Pixels

# images with the same bytes, of the same picture, or with at least this cosine
Collapse = Literal["bytes", "picture"] | float
MAX_FOLDED = 2_000  # best hits of a search among which duplicates are looked for
MAX_HASH_DISTANCE = 4  # bits of 64 in which the hashes of one picture may differ
MAX_COLOUR_DISTANCE = 8  # levels of 255 in which its mean red, green and blue may differ
_N_HASH_BYTES, _N_COLOURS = 11, 3  # 64 signs and a mean colour
_SIDE, _FREQUENCIES = 32, 8
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue
# Smaller frequencies are noise, as in symmetric drawings (standard deviations) and in plain colours.
_DEAD_ZONE, _NOISE = 0.1, 16.0


def fold_same_bytes(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each content, in order."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.sha256, []).append(hit)
    return [_folded("near", *group) for group in groups.values()]


def fold_near(hits: Sequence[Hit], rows: Embeddings, cosine: float) -> list[Hit]:
    """Fold each of N hits, with embeddings (N, D), into the nearest better hit of at least this cosine."""
    return _fold(hits, rows @ rows.T, cosine, "near")


def fold_same_picture(hits: Sequence[Hit], hashes: Mapping[int, bytes]) -> list[Hit]:
    """Fold each hit into the best match among the better hits with the same picture.

    `hashes` are those of the hits' keys. A hit without one is folded if its bytes are those of a better hit.
    """
    known = np.array([hit.key in hashes for hit in hits], bool)
    joined = b"".join(hashes.get(hit.key, bytes(_N_HASH_BYTES)) for hit in hits)
    table = np.frombuffer(joined, np.uint8).reshape(len(hits), _N_HASH_BYTES)
    bits = np.unpackbits(table[:, :-_N_COLOURS], axis=1).astype(np.float32)  # (N, 64)
    n_set = bits.sum(axis=1)
    distances = n_set[:, None] + n_set - 2 * bits @ bits.T  # (N, N)
    colours = table[:, -_N_COLOURS:].astype(np.int16)
    for colour in colours.T:  # one after the other, so that no array is (N, N, 3)
        distances[np.abs(colour[:, None] - colour) > MAX_COLOUR_DISTANCE] = np.inf
    distances[~(known[:, None] & known)] = np.inf
    contents = np.unique([hit.sha256 for hit in hits], return_inverse=True)[1]
    distances[contents[:, None] == contents] = -1
    return _fold(hits, -distances, -MAX_HASH_DISTANCE, "picture")


def picture_hash(pixels: Pixels) -> bytes:
    """A perceptual hash of 11 bytes, nearly the same for a picture that is encoded again or resized.

    The signs of 8 x 8 low frequencies of the brightness (DCT, as pHash by Zauner 2010), without those that
    are constant along a side, and the mean red, green and blue.
    """
    height, width, _ = pixels.shape
    brightness = pixels @ _BRIGHTNESS  # (H, W)
    found = _low_frequencies(height) @ brightness @ _low_frequencies(width).T  # (8, 8)
    signs = found > np.median(found) + max(_DEAD_ZONE * found.std(), _NOISE)
    colour = np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8)
    return bytes(np.packbits(signs)) + bytes(colour)


@cache
def _low_frequencies(n: int) -> NDArray[np.float32]:
    """(8, n): averages n pixels over 32 cells of equal width, and takes their cosine transform."""
    edges, pixels = np.linspace(0, n, _SIDE + 1), np.arange(n)
    overlaps = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    averages = np.clip(overlaps, 0, None) * _SIDE / n  # (32, n)
    waves = np.cos(
        np.pi / _SIDE * np.outer(np.arange(1, _FREQUENCIES + 1), np.arange(_SIDE) + 0.5)
    )  # (8, 32)
    found: NDArray[np.float32] = (waves @ averages).astype(np.float32)
    return found


def _fold(
    hits: Sequence[Hit], nearness: NDArray[np.float32], least: float, kind: Literal["picture", "near"]
) -> list[Hit]:
    """Fold each of N hits into the nearest better hit, of at least the `least` nearness (N, N).

    Only hits that remain are compared with, so that a chain of neighbours does not become one hit.
    """
    groups: dict[int, list[Hit]] = {}
    remains = np.zeros(len(hits), bool)
    for i, hit in enumerate(hits):
        near = np.flatnonzero(remains & (nearness[i] >= least))
        if len(near):
            groups[int(near[nearness[i, near].argmax()])].append(hit)
        else:
            remains[i], groups[i] = True, [hit]
    return [_folded(kind, *group) for group in groups.values()]


def _folded(kind: Literal["picture", "near"], best: Hit, *others: Hit) -> Hit:
    """The best hit with the others as duplicates: of its bytes, or of this kind."""
    if not others:
        return best
    return replace(
        best,
        duplicates=tuple(
            Duplicate(one.id, "bytes" if one.sha256 == best.sha256 else kind, one.collection)
            for one in others
        ),
    )
