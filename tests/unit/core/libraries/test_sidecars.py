"""Which sidecar is that of a picture, and what becomes of one that cannot be read."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from diptych.bundle.image.xmp import MAX_XMP_BYTES
from diptych.core.libraries.ports import Content, Listing, Path, Stamp, Unreadable
from diptych.core.libraries.sidecars import Described, Sidecars
from support.embedded_captions import xmp_of

NOW = 10**18
STAMP = Stamp(5, NOW - 10**12, "a")
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'


class FakeFolder:
    """Has these sidecars, and no others can be read."""

    def __init__(self, sidecars: Mapping[Path, bytes]) -> None:
        self.sidecars = sidecars

    async def listing(self) -> Listing:
        return Listing()

    async def read(self, path: Path) -> Content | Unreadable:
        found = self.sidecars.get(path)
        return Unreadable("Stale file handle") if found is None else Content(found, STAMP)


def described(pictures: list[Path], sidecars: Mapping[Path, bytes], stamp: Stamp = STAMP) -> list[Described]:
    listing = Listing(dict.fromkeys(pictures, STAMP), sidecars=dict.fromkeys(sidecars, stamp))
    found = Sidecars(FakeFolder(sidecars), listing, NOW)

    async def all_of_them() -> list[Described]:
        return [await found.describe(path, STAMP) for path in pictures]

    return asyncio.run(all_of_them())


def titled(title: str) -> bytes:
    return xmp_of(title={"x-default": title})


@pytest.mark.parametrize(
    ("sidecars", "titles"),
    [
        ({b"x/a.xmp": "stem"}, ["stem", "stem"]),
        ({b"x/a.JPG.xmp": "whole"}, ["whole", None]),
        ({b"x/a.JPG.XMP": "whole", b"x/a.xmp": "stem"}, ["whole", "stem"]),
        ({b"a.xmp": "elsewhere", b"x/b.xmp": "another"}, [None, None]),
    ],
)
def test_sidecar_is_found_by_the_whole_name_or_by_that_without_ending(
    sidecars: dict[Path, str], titles: list[str | None]
) -> None:
    found = described([b"x/a.JPG", b"x/a.heic"], {path: titled(title) for path, title in sidecars.items()})
    assert [one.file.get("title") for one in found] == titles
    assert all(one.file["folder"] == "x" for one in found)


def test_all_that_people_write_is_kept_within_bounds() -> None:
    packet = xmp_of({"x-default": "c" * 5_000}, {"x-default": "t"}, ["k" * 300, *map(str, range(200))], 4)
    (found,) = described([b"a.jpg"], {b"a.xmp": packet})
    keywords = found.file["keywords"]
    assert (len(found.file["caption"]), found.file["title"], found.file["rating"]) == (4_000, "t", 4)
    assert (len(keywords), keywords[0], keywords[1]) == (100, "k" * 200, "0")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (BOMB, "its XMP declares a document type (x), which XMP must not"),
        (b"no XML", "its XMP cannot be read: syntax error"),
        (b"<a>" * 10_000, "its XMP cannot be read"),
        (bytes(MAX_XMP_BYTES + 1), "has 1000001 bytes, limit is 1000000"),
    ],
)
def test_sidecar_that_is_no_xmp_says_nothing_and_has_a_problem(payload: bytes, reason: str) -> None:
    stamp = Stamp(len(payload), STAMP.modified_ns, "a")
    (found,) = described([b"a.jpg"], {b"a.xmp": payload}, stamp)
    assert found.file.keys() == {"name", "folder", "modified"}
    assert found.sidecar is not None and found.sidecar.problem.startswith(reason)


def test_sidecar_that_cannot_be_read_now_is_tried_again() -> None:
    listing = Listing({b"a.jpg": STAMP}, sidecars={b"a.xmp": STAMP})
    found = Sidecars(FakeFolder({}), listing, NOW)
    one: Any = asyncio.run(found.describe(b"a.jpg", STAMP))
    assert (one.sidecar, one.unread) == (None, b"a.xmp")
    assert found.unread == {b"a.xmp": "Stale file handle"}


def test_sidecar_that_may_still_be_written_is_not_taken_for_read() -> None:
    (found,) = described([b"a.jpg"], {b"a.xmp": titled("new")}, Stamp(5, NOW, "a"))
    assert (found.file["title"], found.sidecar) == ("new", None)
