"""Find the items of an AVIF or HEIC file, and how they are put together; knows nothing of what is in them.

ISO/IEC 14496-12 (boxes, items, samples) and ISO/IEC 23008-12 (image files). What is cut off or makes no sense
raises struct.error or ValueError.
"""

import struct
from collections.abc import Collection, Iterator

from diptych.errors import TooLarge

MAX_BOXES = 20_000  # looked at: a picture has about 50, a grid 1 more for each tile
MAX_DIRECTORY_BYTES = 300_000  # what lists items, 100 bytes each: decoders take quadratic time over them

_DIRECTORIES = frozenset({b"iinf", b"iloc", b"iref", b"ipma", b"grpl"})
# Boxes with boxes inside, and how many bytes stand before those.
_PARENTS = {b"meta": 4, b"iprp": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_MAX_DEPTH = 8
_FULL = 4  # version and flags at the start of many boxes

Box = tuple[bytes, memoryview]  # kind, and what is inside
Piece = bytes | memoryview


def boxes_of(payload: bytes) -> list[Box]:
    """All boxes, each before what is inside it. Raises TooLarge for more than any honest file has."""
    boxes, n_directory_bytes = [], 0
    for kind, body in _walk(memoryview(payload), 0):
        boxes.append((kind, body))
        n_directory_bytes += len(body) if kind in _DIRECTORIES else 0
        if len(boxes) > MAX_BOXES:
            raise TooLarge(f"image has over {MAX_BOXES} boxes")
        if n_directory_bytes > MAX_DIRECTORY_BYTES:
            raise TooLarge(f"image lists its items in over {MAX_DIRECTORY_BYTES} bytes")
    return boxes


def av1_pieces(payload: bytes, boxes: list[Box]) -> Iterator[Piece]:
    """Every item that is AV1, and the first sample of every track."""
    yield from (piece for _, _, piece in item_pieces(payload, boxes, {b"av01"}))
    yield from _first_samples(payload, boxes)


def item_pieces(
    payload: bytes, boxes: list[Box], kinds: Collection[bytes]
) -> Iterator[tuple[int, bytes, Piece]]:
    """(number, kind, data) of every item of these kinds."""
    inside = _bodies(boxes, b"idat")  # data that stands among the lists
    wanted = {number: name for number, name in map(_item, _bodies(boxes, b"infe")) if name in kinds}
    for body in _bodies(boxes, b"iloc"):
        for number, is_inside, extents in _locations(body):
            if number in wanted:
                sources = inside if is_inside else [memoryview(payload)]
                yield from ((number, wanted[number], _joined(source, extents)) for source in sources)


def properties(boxes: list[Box], kind: bytes) -> dict[int, list[memoryview]]:
    """Item -> the properties of one kind that are associated with it."""
    known = [box for body in _bodies(boxes, b"ipco") for box in _walk(body, _MAX_DEPTH)]
    found: dict[int, list[memoryview]] = {}
    for body in _bodies(boxes, b"ipma"):
        fields = _Fields(body)
        id_bytes = 4 if fields.take(1) else 2
        index_bytes = 2 if fields.take(3) & 1 else 1
        for _ in range(fields.take(4)):
            number = fields.take(id_bytes)
            for _ in range(fields.take(1)):
                index = fields.take(index_bytes) & (2 ** (8 * index_bytes - 1) - 1)  # the top bit: essential
                if 0 < index <= len(known) and known[index - 1][0] == kind:
                    found.setdefault(number, []).append(known[index - 1][1])
    return found


def parts(boxes: list[Box]) -> dict[int, list[int]]:
    """Item that is put together -> the items that it is made of, each as often as it is used."""
    found: dict[int, list[int]] = {}
    for body in _bodies(boxes, b"iref"):
        id_bytes = 4 if bytes(body[:1]) != b"\0" else 2
        for kind, reference in _walk(body[_FULL:], _MAX_DEPTH):
            if kind == b"dimg":
                fields = _Fields(reference)
                number = fields.take(id_bytes)
                found.setdefault(number, []).extend(fields.take(id_bytes) for _ in range(fields.take(2)))
    return found


def _walk(data: memoryview, depth: int) -> Iterator[Box]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        size = size or len(data) - position  # 0: up to the end
        if size < head:
            raise ValueError(f"a box has {size} bytes")
        body = data[position + head : position + size]
        yield kind, body
        if kind == b"iinf" and depth < _MAX_DEPTH:
            yield from _walk(body[_FULL + (4 if bytes(body[:1]) != b"\0" else 2) :], depth + 1)
        elif kind in _PARENTS and depth < _MAX_DEPTH:
            yield from _walk(body[_PARENTS[kind] :], depth + 1)
        position += size


def _bodies(boxes: list[Box], *kinds: bytes) -> list[memoryview]:
    return [body for kind, body in boxes if kind in kinds]


def _item(entry: memoryview) -> tuple[int, bytes]:
    """(number, kind of item) of an entry; the older entries, which do not say the kind, are no pictures."""
    if entry[0] < 2:
        return 0, b""
    number, _, name = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, _FULL)
    return number, name


def _locations(body: memoryview) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """(number, whether its data stands in an `idat`, (offset, length) of each piece) of every item."""
    fields = _Fields(body)
    version = fields.take(1)
    fields.take(3)
    offset_bytes, length_bytes = divmod(fields.take(1), 16)
    base_bytes, index_bytes = divmod(fields.take(1), 16)
    for _ in range(fields.take(2 if version < 2 else 4)):
        number = fields.take(2 if version < 2 else 4)
        is_inside = bool(fields.take(2) & 15) if version else False
        fields.take(2)  # another file
        base = fields.take(base_bytes)
        extents = []
        for _ in range(fields.take(2)):
            fields.take(index_bytes if version else 0)
            extents.append((base + fields.take(offset_bytes), fields.take(length_bytes)))
        yield number, is_inside, extents


class _Fields:
    """Big-endian numbers of any width, one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def take(self, n_bytes: int) -> int:
        self._position += n_bytes
        if self._position > len(self._data):
            raise ValueError("a list ends before its last entry")
        return int.from_bytes(self._data[self._position - n_bytes : self._position], "big")


def _joined(source: memoryview, extents: list[tuple[int, int]]) -> Piece:
    """A length of 0 means up to the end."""
    pieces = [source[offset : offset + length if length else None] for offset, length in extents]
    if sum(map(len, pieces)) > len(source):
        raise ValueError("the pieces of an item overlap")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _first_samples(payload: bytes, boxes: list[Box]) -> Iterator[Piece]:
    """The first sample of each track of AV1 begins its first chunk."""
    for table in _bodies(boxes, b"stbl"):
        inside = dict(_walk(table, _MAX_DEPTH))
        if inside.get(b"stsd", b"")[12:16] != b"av01":
            continue
        wide = b"co64" in inside
        offset, *_ = struct.unpack_from(">Q" if wide else ">I", inside[b"co64" if wide else b"stco"], 8)
        each, n_samples = struct.unpack_from(">II", inside[b"stsz"], _FULL)
        first = each or (struct.unpack_from(">I", inside[b"stsz"], 12)[0] if n_samples else 0)
        yield memoryview(payload)[offset : offset + first]
