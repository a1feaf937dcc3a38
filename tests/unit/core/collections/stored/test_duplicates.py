"""Hits that are duplicates of a better hit are folded into it; images of a collection are grouped."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.core.collections.stored.duplicates import (
    fold_near,
    fold_same_bytes,
    fold_same_picture,
    picture_hash,
    same_pictures,
)
from diptych.core.types import Duplicate, Hit, ImageContent
from support.pictures import encoded

GALLERY = Path(__file__).parents[5] / "server" / "gallery"
DRAWINGS = sorted(GALLERY.glob("*.png"))


def hits(*contents: str) -> list[Hit]:
    return [Hit(f"{i}", 1 - i / 10, None, {}, i, content, "pets") for i, content in enumerate(contents)]


def at_angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)  # (N, 2)


def folded(found: list[Hit]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(hit.id, [(one.id, one.kind) for one in hit.duplicates]) for hit in found]


def test_hits_with_the_same_bytes_become_the_best_of_them_in_order() -> None:
    found = fold_same_bytes(hits("a", "b", "a", "c", "a"))
    assert folded(found) == [("0", [("2", "bytes"), ("4", "bytes")]), ("1", []), ("3", [])]
    assert (found[0].cosine, found[0].duplicates[0]) == (1, Duplicate("2", "bytes", "pets"))


def test_near_hits_are_folded_and_told_apart_from_the_same_bytes() -> None:
    found = fold_near(hits("a", "b", "a", "c"), at_angles(0, 5, 0, 90), cosine=0.99)
    assert folded(found) == [("0", [("1", "near"), ("2", "bytes")]), ("3", [])]


def test_chain_of_neighbours_does_not_become_one_hit() -> None:
    found = fold_near(
        hits("a", "b", "c", "d"), at_angles(0, 10, 20, 30), cosine=float(np.cos(np.radians(11)))
    )
    assert folded(found) == [("0", [("1", "near")]), ("2", [("3", "near")])]


def test_hit_goes_to_the_nearest_of_the_better_ones() -> None:
    found = fold_near(hits("a", "b", "c"), at_angles(0, 20, 12), cosine=float(np.cos(np.radians(15))))
    assert folded(found) == [("0", []), ("1", [("2", "near")])]


def drawing(file: Path) -> Image.Image:
    """On white."""
    with Image.open(file) as opened:
        found = opened.convert("RGBA")
    white = Image.new("RGBA", found.size, "white")
    return Image.alpha_composite(white, found).convert("RGB")


def hash_of(picture: Image.Image, side: int = 64) -> bytes:
    """The hash of what an encoder sees of a picture."""
    return picture_hash(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))


def read_again(picture: Image.Image, kind: str, **options: Any) -> Image.Image:
    """What is read of the file of a picture."""
    return Image.open(io.BytesIO(encoded(picture, kind, **options))).convert("RGB")


def groups(hashes: dict[int, bytes], contents: str = "abcdefghij") -> list[tuple[str, list[tuple[str, str]]]]:
    return folded(fold_same_picture(hits(*contents[: len(hashes)]), hashes))


@pytest.mark.parametrize("name", ["cat", "rocket", "sliceofpizza", "dog"])
def test_picture_that_was_encoded_again_or_resized_is_the_same(name: str) -> None:
    picture = drawing(GALLERY / f"{name}.png")
    half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    files = [
        picture,
        *(read_again(picture, "JPEG", quality=quality) for quality in (95, 75, 50, 30)),
        read_again(picture, "WEBP", quality=80),
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.LANCZOS),
        half,
        read_again(half, "JPEG", quality=75),
    ]
    found = groups({i: hash_of(file) for i, file in enumerate(files)})
    assert found == [("0", [(str(i), "picture") for i in range(1, len(files))])]


def test_different_drawings_are_not_the_same_picture() -> None:
    chosen = DRAWINGS[::3]
    hashes = {i: hash_of(drawing(file)) for i, file in enumerate(chosen)}
    alike = [hit for hit in fold_same_picture(hits(*map(str, chosen)), hashes) if hit.duplicates]
    assert [(chosen[hit.key].stem, chosen[int(hit.duplicates[0].id)].stem) for hit in alike] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("largeredcircle", "largebluecircle"),
        ("angry", "disappointed"),
        ("cat", "dog"),
        ("bluebook", "greenbook"),
    ],
)
def test_drawings_of_one_shape_or_subject_are_told_apart(one: str, other: str) -> None:
    hashes = {i: hash_of(drawing(GALLERY / f"{name}.png")) for i, name in enumerate((one, other))}
    assert groups(hashes) == [("0", []), ("1", [])]


@pytest.mark.parametrize("side", [8, 255, 512])
def test_hash_ends_with_the_mean_colour(side: int) -> None:
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for pixels in (noise, np.full_like(noise, 255)):
        mean = np.rint(pixels.mean(axis=(0, 1), dtype=np.float64)).astype(np.uint8)
        assert picture_hash(pixels)[-3:] == mean.tobytes()


def test_plain_colours_have_no_structure() -> None:
    hashes = [hash_of(Image.new("RGB", (50, 50), colour)) for colour in ("#f00", "#fe0101", "#00f")]
    assert groups(dict(enumerate(hashes))) == [("0", [("1", "picture")]), ("2", [])]


def test_hit_without_a_hash_is_folded_only_by_its_bytes() -> None:
    known = hash_of(drawing(GALLERY / "cat.png"))
    found = fold_same_picture(hits("a", "b", "c", "a"), {0: known, 2: known})
    assert folded(found) == [("0", [("2", "picture"), ("3", "bytes")]), ("1", [])]


def images(*hashes: bytes | None, contents: str = "abcdefghij") -> list[ImageContent]:
    """Images `i0`, `i1`, ... of a collection with these hashes; each letter stands for other bytes."""
    pairs = zip(hashes, contents, strict=False)
    return [ImageContent(n, f"i{n}", content, True, hash) for n, (hash, content) in enumerate(pairs)]


def flipped(hash: bytes, *bits: int) -> bytes:
    """The hash with other signs at these places."""
    signs = int.from_bytes(hash[:8]) ^ sum(1 << bit for bit in bits)
    return signs.to_bytes(8) + hash[8:]


HASH = bytes(range(1, 9)) + bytes([100, 100, 100])


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (HASH, True),
        (flipped(HASH, 0, 20, 40, 63), True),
        (flipped(HASH, 0, 1, 2, 3), True),
        (flipped(HASH, 0, 13, 26, 39), True),
        (flipped(HASH, 0, 13, 26, 39, 52), False),
        (flipped(HASH, 0, 1, 2, 3, 4), False),
        (HASH[:8] + bytes([108, 92, 108]), True),
        (HASH[:8] + bytes([92, 100, 100]), True),
        (HASH[:8] + bytes([109, 100, 100]), False),
        (HASH[:8] + bytes([91, 100, 100]), False),
        (HASH[:8] + bytes([100, 100, 109]), False),
    ],
)
def test_pictures_of_a_collection_may_differ_a_little(other: bytes, is_same: bool) -> None:
    assert same_pictures(images(HASH, other), {}) == ([["i0", "i1"]] if is_same else [])


def test_same_bytes_are_grouped_with_or_without_a_hash() -> None:
    far = flipped(HASH, *range(30))
    found = images(HASH, None, far, None, far, None, HASH, contents="abcbcda")
    assert same_pictures(found, {}) == [["i0", "i6"], ["i1", "i3"], ["i2", "i4"]]
    assert same_pictures(found, {1: HASH}) == [["i0", "i1", "i3", "i6"], ["i2", "i4"]]
    assert same_pictures(images(None, contents="a"), {}) == same_pictures([], {}) == []


def test_groups_are_those_of_comparing_all_pairs() -> None:
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (40, 11), np.uint8)[random.integers(0, 40, 1_500)]
    table[:, :8] ^= np.uint8(1) << random.integers(0, 8, (1_500, 8)).astype(np.uint8) * (
        random.random((1_500, 8)) < 0.3
    ).astype(np.uint8)
    table[:, 8:] = np.clip(table[:, 8:].astype(int) + random.integers(-6, 7, (1_500, 3)), 0, 255)
    hashes = [row.tobytes() for row in table]
    found = [ImageContent(n, f"{n:04}", f"{n:04}", True, hash) for n, hash in enumerate(hashes)]
    free, expected = dict.fromkeys(range(1_500)), list[list[str]]()
    signs, colours = np.unpackbits(table[:, :8], axis=1), table[:, 8:].astype(int)
    while free:
        first = next(iter(free))
        near = (signs != signs[first]).sum(axis=1) <= 4
        near &= (np.abs(colours - colours[first]) <= 8).all(axis=1)
        group = [n for n in np.flatnonzero(near).tolist() if n in free]
        for n in group:
            del free[n]
        if len(group) > 1:
            expected.append([f"{n:04}" for n in group])
    assert len(expected) > 50
    assert same_pictures(found, {}) == expected
