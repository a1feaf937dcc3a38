"""Find the files in a tar archive without unpacking it; knows nothing of images or of where it is kept.

POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU long names. Every read is bounded, whatever a header claims.
The standard library's reader ends in silence where an archive is damaged between two files, reads headers of
any size into memory, and keeps an entry for every file it has passed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from diptych.errors import Malformed, TooLarge

Read = Callable[
    [int, int], bytes
]  # (offset, n_bytes) -> at most n_bytes; fewer at the end. Offsets never fall

BLOCK = 512
MAX_EXTENSION_BYTES = 1_000_000  # of a pax header or a long name
MAX_BYTES = 10**18  # of an archive: files are no larger, and offsets of a few more bytes still have 64 bits
_KINDS: dict[bytes, "Kind"] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "link",
    b"2": "link",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "device",
}
# For the next member, for all of them, its long name, its long target; the label of the archive.
_EXTENSIONS = {b"x", b"g", b"L", b"K", b"V"}

Kind = Literal["file", "link", "device", "folder"]


@dataclass(frozen=True)
class Member:
    """One entry: its name (UTF-8, other bytes as surrogates), and where its bytes are."""

    name: str
    kind: Kind
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class _Said:
    """What extensions say of the next member."""

    name: str | None = None
    size: int | None = None


def members(read: Read, n_bytes: int | None = None, max_members: int | None = None) -> Iterator[Member]:
    """All entries in order, of an archive of `n_bytes` (None: not known). Raises Malformed, and TooLarge for
    more than `max_members` headers of any kind.

    Malformed: no tar, a damaged header, a member that is cut off, a sparse file, no end.
    """
    offset, n_headers, said = 0, 0, _Said()
    while (header := read(offset, BLOCK)) != bytes(BLOCK):
        n_headers += 1
        where = f"the archive's header at byte {offset}"
        if max_members is not None and n_headers > max_members:
            raise TooLarge(f"the archive has over {max_members} entries")
        _check(header, offset)
        kind, length = header[156:157], _number(header[124:136], where)
        start = offset + BLOCK
        if kind in _EXTENSIONS:
            said = _extended(said, kind, _extension(read, start, length, where), where)
        else:
            if kind not in _KINDS:
                raise Malformed(f"{where} is of the kind {kind!r}, which is not read here")
            member = _member(header, start, said if said.size is not None else _Said(said.name, length))
            yield member
            length, said = member.n_bytes, _Said()
        if n_bytes is not None and length > n_bytes - start:
            raise Malformed(f"{where} speaks of {length} bytes, {max(0, n_bytes - start)} are left")
        offset = start + -(-length // BLOCK) * BLOCK
        if offset > MAX_BYTES:
            raise Malformed(f"{where} has a size beyond all measure: {length} bytes")


def _member(header: bytes, offset: int, said: _Said) -> Member:
    name, kind = said.name or _name(header), _KINDS[header[156:157]]
    if kind == "file" and name.endswith("/"):  # as archives of before 1988 spell folders
        kind = "folder"
    return Member(name, kind, offset, said.size or 0 if kind == "file" else 0)


def _extension(read: Read, start: int, length: int, where: str) -> bytes:
    if length > MAX_EXTENSION_BYTES:
        raise TooLarge(f"{where} has {length} bytes of extensions, limit is {MAX_EXTENSION_BYTES}")
    body = read(start, length)
    if len(body) != length:
        raise Malformed(f"the archive is cut off at byte {start + len(body)}")
    return body


def _extended(said: _Said, kind: bytes, body: bytes, where: str) -> _Said:
    """What is said of the next member, with this extension."""
    if kind == b"L":
        return _Said(_text(body.rstrip(b"\0")), said.size)
    if kind != b"x":
        return said
    records = _pax_records(body, where)
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise Malformed(f"{where} is of a sparse file, which is not read here")
    name = _text(records[b"path"]) if b"path" in records else said.name
    return _Said(name, _decimal(records[b"size"], where) if b"size" in records else said.size)


def _pax_records(body: bytes, where: str) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n`, one after the other."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(body) and body[position] != 0:
        digits = body[position : position + 8].partition(b" ")[0]
        length = _decimal(digits, where)
        record = body[position + len(digits) + 1 : position + length]
        key, separator, value = record.partition(b"=")
        if length <= len(digits) + 1 or position + length > len(body) or not separator or value[-1:] != b"\n":
            raise Malformed(f"{where} has a broken extension")
        records[key] = value[:-1]
        position += length
    return records


def _check(header: bytes, offset: int) -> None:
    if len(header) < BLOCK:
        raise Malformed(f"the archive is cut off at byte {offset + len(header)}: it has no end")
    said = header[148:156].strip(b"\0 ")
    unsigned = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    if not said.isdigit() or int(said, 8 if b"8" not in said and b"9" not in said else 10) != unsigned:
        raise Malformed(f"the archive has no good header at byte {offset}: its checksum differs")


def _number(field: bytes, where: str) -> int:
    """Octal digits, or base 256 with the highest bit set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise Malformed(f"{where} has a negative size, or one beyond all measure")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not all(digit in b"01234567" for digit in digits):
        raise Malformed(f"{where} has a size that is no number")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, where: str) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise Malformed(f"{where} has a broken extension")
    return int(digits)


def _name(header: bytes) -> str:
    """The short name, behind its prefix in archives that have one."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return _text(prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
