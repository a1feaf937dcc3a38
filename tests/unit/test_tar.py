"""Tar archives, and above all those that nobody should be able to hurt a server with."""

import io
import random
import tarfile

import pytest

from diptych.errors import InputError, Malformed, TooLarge
from diptych.tar import BLOCK, MAX_EXTENSION_BYTES, Member, TarStream, members
from support.tars import entry, header, tar_of, tar_with

END = bytes(2 * BLOCK)


def listed(archive: bytes, max_members: int = 100) -> list[Member]:
    largest = 0

    def read(offset: int, n_bytes: int) -> bytes:
        nonlocal largest
        largest = max(largest, n_bytes)
        return archive[offset : offset + n_bytes]

    found = list(members(read, len(archive), max_members))
    assert largest <= MAX_EXTENSION_BYTES
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_bytes_equal_those_that_tarfile_wrote_in_every_format(form: int) -> None:
    files = {"a.png": b"first", "deep/er/b.jpg": b"x" * 1000, "empty": b"", f"{'long/' * 30}c.png": b"third"}
    if form != tarfile.USTAR_FORMAT:
        files |= {f"{'n' * 180}.png": b"fourth", "schön.png": b"fifth"}
    archive = tar_of(files, form)
    found = {one.name: archive[one.offset : one.offset + one.n_bytes] for one in listed(archive)}
    assert found == files


def test_size_beyond_octal_digits_is_read() -> None:
    info = tarfile.TarInfo("huge.png")
    info.size = 9 * 2**30
    head = info.tobuf(tarfile.GNU_FORMAT)
    (found,) = members(lambda at, n: head if at == 0 else bytes(BLOCK), 10 * 2**30, 1)
    assert (found.n_bytes, found.offset) == (9 * 2**30, BLOCK)


def test_links_folders_and_devices_are_listed_without_bytes() -> None:
    archive = tar_with(
        entry("folder", tarfile.DIRTYPE),
        entry("soft", tarfile.SYMTYPE, "/etc/passwd"),
        entry("hard", tarfile.LNKTYPE, "a.png"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("disk", tarfile.BLKTYPE),
        entry("old/", tarfile.AREGTYPE),
    )
    assert [(one.name, one.kind, one.n_bytes) for one in listed(archive)] == [
        ("folder/", "folder", 0),
        ("soft", "link", 0),
        ("hard", "link", 0),
        ("pipe", "device", 0),
        ("disk", "device", 0),
        ("old/", "folder", 0),
    ]


BROKEN = {
    "nothing": b"",
    "not a tar archive": b"\x1f\x8b" + bytes(range(256)) * 4,
    "shorter than a header": b"x" * 100,
    "cut off before its end": header(b"a", b"0"),
    "cut off in a file": header(b"a", b"1000") + b"x" * 10,
    "a file of exabytes": header(b"a", b"77777777777") + END,
    "a size that is not a number": header(b"a", b"12x4") + END,
    "a negative size": header(b"a", b"\xff" * 11) + END,
    "an impossible size": header(b"a", b"\xfe" + b"\xff" * 10) + END,
    "damage between two files": tar_of({"a": b""})[:512] + b"\x01" * 512 + END,
    "an unknown kind": header(b"a", b"0", b"Z") + END,
    "a sparse file of GNU": header(b"a", b"0", b"S") + END,
    "an extension that is cut off": header(b"x", b"1000", b"x") + b"18 path=abc\n",
    "an extension without a length": header(b"x", b"1000", b"x") + b"path=abc\n".ljust(512, b"y") + END,
    "an extension longer than it is": header(b"x", b"14", b"x") + b"99 path=abc\n".ljust(512, b"\0") + END,
    "an extension of length 0": header(b"x", b"14", b"x") + b"0 path=abc\n".ljust(512, b"\0") + END,
    "a size of many digits": header(b"x", b"144", b"x")
    + (b"100 size=" + b"9" * 90 + b"\n").ljust(512, b"\0") + END,
    "a sparse file of pax": header(b"x", b"44", b"x")
    + b"36 GNU.sparse.realsize=999999999999\n".ljust(512, b"\0") + header(b"a", b"0") + END,
}  # fmt: skip


def streamed(archive: bytes, chunk_bytes: int, max_members: int = 100) -> list[tuple[Member, bytes]]:
    stream, found, contents = TarStream(max_members), [], []
    for start in range(0, len(archive), chunk_bytes):
        for part in stream.feed(archive[start : start + chunk_bytes]):
            if isinstance(part, Member):
                found.append(part)
                contents.append(b"")
            else:
                contents[-1] += part
    stream.finish()
    return list(zip(found, contents, strict=True))


@pytest.mark.parametrize("archive", BROKEN.values(), ids=BROKEN.keys())
def test_broken_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(Malformed):
        listed(archive)
    with pytest.raises(Malformed):
        streamed(archive, 100)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 511, 512, 513, 5_000, 10**9])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_stream_splits_chunks_of_any_size_into_the_same_files(form: int, chunk_bytes: int) -> None:
    files = {"a": b"", "b.png": bytes(range(256)) * 5, f"{'long/' * 30}c": b"x" * 512, "d": b"y"}
    archive = tar_of(files, form)
    found = streamed(archive, chunk_bytes)
    assert [member for member, _ in found] == listed(archive)
    assert {member.name: content for member, content in found} == files


def test_stream_counts_entries_and_passes_over_what_follows_the_end() -> None:
    with pytest.raises(TooLarge, match="over 10 entries"):
        streamed(header(b"a", b"0") * 11 + END, 1000, max_members=10)
    assert streamed(tar_of({"a": b"1"}) + b"anything", 700)[0][1] == b"1"


def test_too_many_entries_and_endless_extensions_are_refused() -> None:
    with pytest.raises(TooLarge, match="over 10 entries"):
        listed(header(b"a", b"0") * 11 + END, max_members=10)
    with pytest.raises(TooLarge, match="over 10 entries"):  # extensions count, though they are no members
        listed((header(b"x", b"0", b"x")) * 11 + END, max_members=10)
    with pytest.raises(TooLarge, match="bytes of extensions"):
        listed(header(b"x", b"%o" % (MAX_EXTENSION_BYTES + 1), b"L") + bytes(200_000))


def test_damage_anywhere_is_an_error_of_ours_or_another_list() -> None:
    whole = tar_of({f"{'n' * 150}.png": b"x" * 700, "b.png": b"y"}, tarfile.PAX_FORMAT)
    chance = random.Random(7)
    for _ in range(3_000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            for one in listed(bytes(damaged[: chance.randint(0, len(damaged))])):
                assert one.offset + one.n_bytes <= len(damaged)
        except InputError:
            continue


def test_what_is_read_is_what_tarfile_reads() -> None:
    files = {f"{i}/{'d' * i}.png": bytes([i]) * i * 37 for i in range(90)}
    archive = tar_of(files)
    with tarfile.open(fileobj=io.BytesIO(archive)) as theirs:
        expected = [(one.name, one.offset_data, one.size) for one in theirs]
    assert [(one.name, one.offset, one.n_bytes) for one in listed(archive, 1000)] == expected
