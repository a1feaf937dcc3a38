"""Finds the files in a tar archive without unpacking it.

Reads POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU long names. Every read is bounded, whatever a header
claims. The standard library's reader is not used because it stops silently where an archive is damaged
between two files, reads headers of any size into memory, and keeps an entry for every file that it has
passed.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from diptych.errors import Malformed, TooLarge

# (offset, n_bytes) -> at most n_bytes, fewer at the end of the archive. Offsets never decrease.
Read = Callable[[int, int], bytes]

BLOCK = 512
MAX_EXTENSION_BYTES = 1_000_000  # of a pax header or a long name
# of an archive: above the size of any file, and offsets a little beyond still fit into 64 bits
MAX_BYTES = 10**18
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
# In this order: for the next member, for all members, its long name, its long link target, the volume label.
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
class _Extensions:
    """The name and size that extension headers state for the next member."""

    name: str | None = None
    size: int | None = None


class _Wanted(NamedTuple):
    """The bytes of the archive that the parser needs next."""

    offset: int
    n_bytes: int


_Steps = Generator[Member | _Wanted, bytes, None]  # is sent the bytes that it wanted


def members(read: Read, n_bytes: int | None = None, max_members: int | None = None) -> Iterator[Member]:
    """Iterate over the entries of an archive of `n_bytes` (None: unknown), in order.

    Raises TooLarge for more than `max_members` headers of any kind. Raises Malformed for what is not a tar
    archive, a damaged header, a truncated member, a sparse file, or a missing end.
    """
    steps = _steps(n_bytes, max_members)
    step = next(steps, None)
    while step is not None:
        if isinstance(step, Member):
            yield step
            step = next(steps, None)
        else:
            step = _send(steps, read(*step))


class TarStream:
    """Splits an archive that arrives in chunks into its entries and their bytes. Keeps only headers.

    Raises what `members` raises.
    """

    def __init__(self, max_members: int | None = None) -> None:
        self._steps = _steps(None, max_members)
        self._step: Member | _Wanted | None = next(self._steps)
        self._buffer = bytearray()  # the part of the wanted bytes that has arrived
        self._position = 0  # in the archive
        self._content_end = 0  # of the entry that arrives

    def feed(self, chunk: bytes | bytearray) -> Iterator[Member | memoryview]:
        """Iterate over what the next chunk has: entries, and pieces of the file that was named before.

        The pieces are views of the chunk. Bytes after the end of the archive are passed over.
        """
        rest = memoryview(chunk)
        while rest and isinstance(self._step, _Wanted):
            wanted = self._step
            if self._position < self._content_end:
                piece = rest[: self._content_end - self._position]
                yield piece
            elif self._position < wanted.offset:  # padding
                piece = rest[: wanted.offset - self._position]
            else:
                piece = rest[: wanted.n_bytes - len(self._buffer)]
                self._buffer += piece
            self._position += len(piece)
            rest = rest[len(piece) :]
            yield from self._advance()

    def finish(self) -> None:
        """Call it when the last chunk was fed. Raises Malformed if the archive has not ended."""
        if self._step is not None:
            raise Malformed(f"the archive is cut off at byte {self._position}: it has no end")

    def _advance(self) -> Iterator[Member]:
        """Parse what has arrived completely, up to the next bytes that are needed."""
        while self._step is not None:
            if isinstance(self._step, Member):
                self._content_end = self._step.offset + self._step.n_bytes
                yield self._step
                self._step = next(self._steps, None)
            elif len(self._buffer) == self._step.n_bytes:
                self._step = _send(self._steps, bytes(self._buffer))
                self._buffer.clear()
            else:
                return


def _send(steps: _Steps, wanted: bytes) -> Member | _Wanted | None:
    """The next step; None at the end of the archive."""
    try:
        return steps.send(wanted)
    except StopIteration:
        return None


def _steps(n_bytes: int | None, max_members: int | None) -> _Steps:
    """Parse an archive without reading it: yields each entry, and which bytes it needs to go on."""
    offset, n_headers, stated = 0, 0, _Extensions()
    while (header := (yield _Wanted(offset, BLOCK))) != bytes(BLOCK):
        n_headers += 1
        where = f"the archive's header at byte {offset}"
        if max_members is not None and n_headers > max_members:
            raise TooLarge(f"the archive has over {max_members} entries")
        _check(header, offset)
        kind, length = header[156:157], _number(header[124:136], where)
        start = offset + BLOCK
        if kind in _EXTENSIONS:
            body = yield from _extension(start, length, where)
            stated = _extended(stated, kind, body, where)
        else:
            if kind not in _KINDS:
                raise Malformed(f"{where} is of the type {kind!r}, which is not supported")
            member = _member(
                header, start, stated if stated.size is not None else _Extensions(stated.name, length)
            )
            yield member
            length, stated = member.n_bytes, _Extensions()
        if n_bytes is not None and length > n_bytes - start:
            raise Malformed(f"{where} states {length} bytes, {max(0, n_bytes - start)} are left")
        offset = start + -(-length // BLOCK) * BLOCK
        if offset > MAX_BYTES:
            raise Malformed(f"{where} has an impossible size: {length} bytes")


def _member(header: bytes, offset: int, stated: _Extensions) -> Member:
    name, kind = stated.name or _name(header), _KINDS[header[156:157]]
    if kind == "file" and name.endswith("/"):  # how archives from before 1988 mark folders
        kind = "folder"
    return Member(name, kind, offset, stated.size or 0 if kind == "file" else 0)


def _extension(start: int, length: int, where: str) -> Generator[_Wanted, bytes, bytes]:
    if length > MAX_EXTENSION_BYTES:
        raise TooLarge(f"{where} has {length} bytes of extensions, limit is {MAX_EXTENSION_BYTES}")
    body = yield _Wanted(start, length)
    if len(body) != length:
        raise Malformed(f"the archive is cut off at byte {start + len(body)}")
    return body


def _extended(stated: _Extensions, kind: bytes, body: bytes, where: str) -> _Extensions:
    """The extensions of the next member, with this one added."""
    if kind == b"L":
        return _Extensions(_text(body.rstrip(b"\0")), stated.size)
    if kind != b"x":
        return stated
    records = _pax_records(body, where)
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise Malformed(f"{where} is of a sparse file, which is not supported")
    name = _text(records[b"path"]) if b"path" in records else stated.name
    return _Extensions(name, _decimal(records[b"size"], where) if b"size" in records else stated.size)


def _pax_records(body: bytes, where: str) -> dict[bytes, bytes]:
    """Parse records of the form `LENGTH KEY=VALUE\\n`, one after the other."""
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
    stated = header[148:156].strip(b"\0 ")
    unsigned = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    if (
        not stated.isdigit()
        or int(stated, 8 if b"8" not in stated and b"9" not in stated else 10) != unsigned
    ):
        raise Malformed(f"the archive has no valid header at byte {offset}: its checksum differs")


def _number(field: bytes, where: str) -> int:
    """Parse octal digits, or a base-256 number if the highest bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise Malformed(f"{where} has a negative or impossible size")
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not all(digit in b"01234567" for digit in digits):
        raise Malformed(f"{where} has a size that is not a number")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, where: str) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise Malformed(f"{where} has a broken extension")
    return int(digits)


def _name(header: bytes) -> str:
    """The name in the header, after its prefix in archives that have one."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return _text(prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
