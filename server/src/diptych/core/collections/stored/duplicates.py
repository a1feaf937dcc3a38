"""Find images with the same bytes or of the same picture, among the hits of a search or in a collection.

Hits of a search that are duplicates of a better hit are folded into that hit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import Duplicate, Embeddings, Hit, ImageContent, ImageRecord, Pixels

# images with the same bytes, of the same picture, or with at least this cosine
Collapse = Literal["bytes", "picture"] | float
MAX_FOLDED = 2_000  # best hits of a search among which duplicates are looked for
MAX_HASH_DISTANCE = 4  # bits of 64 in which the hashes of one picture may differ
MAX_COLOUR_DISTANCE = 8  # levels of 255 in which its mean red, green and blue may differ
MAX_COMPARED = 100_000  # images of a collection in which the same pictures are looked for
MAX_GROUP_IMAGES = 100  # of a group that are listed
_N_HASH_BYTES, _N_COLOURS = 11, 3  # 64 signs and a mean colour
# Parts of a hash. There is one more than bits may differ, so two hashes of one picture share a part.
_PART_BITS = (13, 13, 13, 13, 12)
_SIDE, _FREQUENCIES = 32, 8
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue
# Smaller frequencies are noise, as in symmetric drawings (standard deviations) and in plain colours.
_DEAD_ZONE, _NOISE = 0.1, 16.0


@dataclass(frozen=True)
class DuplicateGroup:
    """Images with the same bytes, or of the same picture as the first of them.

    At most MAX_GROUP_IMAGES of the `n_images` are listed.
    """

    n_images: int
    images: list[ImageRecord]


@dataclass(frozen=True)
class DuplicatePage:
    """Some of the `n_groups` groups of a collection. `next`: the `after` of the next page, or None.

    `n_duplicates` images could go if one of each group stayed. `n_unknown` images have no picture hash.
    """

    groups: list[DuplicateGroup]
    next: str | None
    n_groups: int
    n_duplicates: int
    n_unknown: int


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


def same_pictures(images: Sequence[ImageContent], hashes: Mapping[int, bytes]) -> list[list[str]]:
    """The ids of images of one picture, in groups of two or more. It may take seconds: call it in a thread.

    `hashes`: picture hashes by key, in addition to those that the images have. All images of a group are near
    to its first one in the order of `images`, so that a chain of neighbours does not become one group. Images
    without a hash are grouped by their bytes.
    """
    contents: dict[str, list[ImageContent]] = {}
    for image in images:
        contents.setdefault(image.sha256, []).append(image)
    known: dict[str, bytes] = {}
    for image in images:
        if (hash := image.picture_hash or hashes.get(image.key)) is not None:
            known.setdefault(image.sha256, hash)
    compared = [sha256 for sha256 in contents if sha256 in known]  # in the order of their first images
    firsts = dict(zip(compared, _first_near([known[sha256] for sha256 in compared]), strict=True))
    groups: dict[str, list[str]] = {}
    for image in images:
        first = compared[firsts[image.sha256]] if image.sha256 in firsts else image.sha256
        groups.setdefault(first, []).append(image.id)
    return [group for group in groups.values() if len(group) > 1]


def _first_near(hashes: Sequence[bytes]) -> list[int]:
    """Return, for each of N hashes, the index of the first hash of its picture, which may be itself."""
    table = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), _N_HASH_BYTES)
    signs = np.ascontiguousarray(table[:, :-_N_COLOURS]).view(">u8")[:, 0].astype(np.uint64)
    colours = table[:, -_N_COLOURS:].astype(np.int16)

    def are_near(a: NDArray[np.intp], b: NDArray[np.intp] | np.intp) -> NDArray[np.bool_]:
        differ = np.bitwise_count(signs[a] ^ signs[b]) > MAX_HASH_DISTANCE
        return ~differ & (np.abs(colours[a] - colours[b]) <= MAX_COLOUR_DISTANCE).all(axis=-1)

    has_near = np.zeros(len(hashes), np.bool_)
    parts = []
    for n_bits, end in zip(_PART_BITS, np.cumsum(_PART_BITS), strict=True):
        part = (signs >> np.uint64(end - n_bits)) & np.uint64(2**n_bits - 1)
        # Sorted by the part and within it by red: what may be near stands near.
        place = part.astype(np.int64) * 1_024 + colours[:, 0]
        order = np.argsort(place, kind="stable")
        ranks = place[order]
        parts.append(
            (
                order,
                np.searchsorted(ranks, place - MAX_COLOUR_DISTANCE, "left"),
                np.searchsorted(ranks, place + MAX_COLOUR_DISTANCE, "right"),
            )
        )
        at, step = np.arange(len(hashes)), 1
        while len(at := at[at + step < len(hashes)]):
            at = at[ranks[at + step] - ranks[at] <= MAX_COLOUR_DISTANCE]
            pairs = order[at], order[at + step]
            near = are_near(*pairs)
            for one in pairs:
                has_near[one[near]] = True
            step += 1
    firsts, is_free = np.arange(len(hashes)), has_near.copy()
    for i in np.flatnonzero(has_near):
        if is_free[i]:
            is_free[i] = False
            group = np.concatenate([order[left[i] : right[i]] for order, left, right in parts])
            group = group[is_free[group]]
            group = group[are_near(group, i)]
            firsts[group], is_free[group] = i, False
    found: list[int] = firsts.tolist()
    return found


def picture_hash(pixels: Pixels) -> bytes:
    """A perceptual hash of 11 bytes, nearly the same for a picture that is encoded again or resized.

    The signs of 8 x 8 low frequencies of the brightness (DCT, as pHash by Zauner 2010), without those that
    are constant along a side, and the mean red, green and blue.
    """
    height, width, _ = pixels.shape
    brightness = pixels @ _BRIGHTNESS  # (H, W)
    found = _low_frequencies(height) @ brightness @ _low_frequencies(width).T  # (8, 8)
    signs = found > np.median(found) + max(_DEAD_ZONE * found.std(), _NOISE)
    # Sums of rows are exact in float32. As a product they take a tenth of the time of a mean of the pixels.
    sums = np.ones(width, np.float32) @ pixels  # (H, 3)
    colour = np.rint(sums.sum(axis=0, dtype=np.float64) / (height * width)).astype(np.uint8)
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
