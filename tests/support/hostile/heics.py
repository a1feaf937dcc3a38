"""HEIC files that say little and ask for much, around the one small picture of `support.heics`."""

import struct

from diptych.bundle.heif import boxes_of, item_pieces, properties
from support.heics import PLAIN

TILE = (64, 64)  # pixels as coded, of which 48 rows are shown in the plain file


def grid(
    n_rows: int,
    n_columns: int,
    width: int,
    height: int,
    *,
    named: tuple[int, int] | None = None,
    coded: tuple[int, int] = TILE,
) -> bytes:
    """A picture of n_rows x n_columns tiles, which share their bytes, on a canvas of width x height.

    `named` is the size that the file says it has, `coded` that in the parameter set of the tiles.
    """
    tiles = range(1, 1 + n_rows * n_columns)
    whole = len(tiles) + 1
    items = {n: (b"hvc1", _slice()) for n in tiles} | {
        whole: (b"grid", _grid(n_rows, n_columns, width, height))
    }
    return _file(items, {whole: [*tiles]}, named or (width, height), coded)


def grids_of_grids(depth: int, n_each: int) -> bytes:
    """`n_each` grids, each of the same `n_each` others, and so on down to tiles: n_each ** depth of them."""
    items = {n: (b"hvc1", _slice()) for n in range(1, 1 + n_each)}
    uses: dict[int, list[int]] = {}
    for level in range(1, depth):
        below = range(1 + (level - 1) * n_each, 1 + level * n_each)
        for n in range(1 + level * n_each, 1 + (level + 1) * n_each):
            items[n], uses[n] = (b"grid", _grid(1, n_each, *TILE)), [*below]
    return _file(items, uses, TILE)


def grid_of_itself() -> bytes:
    """There is no end to it."""
    return _file({1: (b"hvc1", _slice()), 2: (b"grid", _grid(1, 1, *TILE))}, {2: [2]}, TILE)


def many_pictures(n: int) -> bytes:
    """One item with the same coded picture over and over."""
    return _file({1: (b"hvc1", _slice() * n)}, {}, TILE)


def configuration_of(width: int, height: int) -> bytes:
    """The plain file's `hvcC`, its parameter set changed to a picture of that size, a multiple of 8."""
    configuration = _configuration()
    start = configuration.index(b"\x42\x01")  # the unit's header: a parameter set of a sequence
    (length,) = struct.unpack_from(">H", configuration, start - 2)
    body = configuration[start + 2 : start + length].replace(b"\0\0\3", b"\0\0")
    bits = f"{int.from_bytes(body, 'big'):0{8 * len(body)}b}"
    at = bits.index(_golomb(64) * 2)
    changed = bits[:at] + _golomb(width) + _golomb(height) + bits[at + 2 * len(_golomb(64)) :]
    changed += "0" * (-len(changed) % 8)
    unit = b"\x42\x01" + _escaped(int(changed, 2).to_bytes(len(changed) // 8, "big"))
    return configuration[: start - 2] + struct.pack(">H", len(unit)) + unit + configuration[start + length :]


def _golomb(number: int) -> str:
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _escaped(body: bytes) -> bytes:
    """Three bytes must not look like the start of a unit."""
    out = bytearray()
    for byte in body:
        if out[-2:] == b"\0\0" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)


def _configuration() -> bytes:
    ((found,),) = properties(boxes_of(PLAIN), b"hvcC").values()
    return bytes(found)


def _slice() -> bytes:
    ((_, _, piece),) = item_pieces(PLAIN, boxes_of(PLAIN), {b"hvc1"})
    return bytes(piece)


def _grid(n_rows: int, n_columns: int, width: int, height: int) -> bytes:
    return struct.pack(">BBBBHH", 0, 0, n_rows - 1, n_columns - 1, width, height)


def _file(
    items: dict[int, tuple[bytes, bytes]],
    uses: dict[int, list[int]],
    named: tuple[int, int],
    coded: tuple[int, int] = TILE,
) -> bytes:
    """Items (kind, data) by number, and what some of them are put together from; the last one is shown."""
    primary = max(items)
    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    entries = [
        _box(b"infe", struct.pack(">IHH4sB", 2 << 24, n, 0, kind, 0)) for n, (kind, _) in items.items()
    ]
    known = [
        _box(b"hvcC", configuration_of(*coded)),
        _box(b"ispe", struct.pack(">III", 0, *coded)),
        _box(b"ispe", struct.pack(">III", 0, *named)),
    ]
    associated = b"".join(_associated(n, kind, n == primary) for n, (kind, _) in items.items())
    references = b"".join(
        _box(b"dimg", struct.pack(f">HH{len(parts)}H", n, len(parts), *parts)) for n, parts in uses.items()
    )

    places: dict[bytes, int] = {}
    for _, data in items.values():
        places.setdefault(data, sum(map(len, places)))

    def meta(first: int) -> bytes:
        where = b"".join(
            struct.pack(">HHHII", n, 0, 1, first + places[data], len(data)) for n, (_, data) in items.items()
        )
        return _box(
            b"meta",
            bytes(4)
            + _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + _box(b"pitm", struct.pack(">IH", 0, primary))
            + _box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(items)) + where)
            + _box(b"iinf", struct.pack(">IH", 0, len(items)) + b"".join(entries))
            + _box(
                b"iprp",
                _box(b"ipco", b"".join(known))
                + _box(b"ipma", struct.pack(">II", 0, len(items)) + associated),
            )
            + (_box(b"iref", bytes(4) + references) if uses else b""),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", b"".join(places))


def _associated(number: int, kind: bytes, is_primary: bool) -> bytes:
    """A tile has its configuration and its size; what is shown has the size that is named."""
    indices = [0x81] * (kind == b"hvc1") + [3 if is_primary else 2]
    return struct.pack(f">HB{len(indices)}B", number, len(indices), *indices)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
