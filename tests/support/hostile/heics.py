"""Small HEIC files that need many resources to decode, made from two honest ones."""

import struct
from base64 import b64decode
from collections.abc import Iterator

from support.hostile.entry import DAMAGED, EITHER, FOREIGN, TOO_LARGE, Hostile

# Photographs of 64 x 48 pixels, red on the left and blue on the right, made with libheif.
PLAIN = b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAGoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "AA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNw"
    "AAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFz"
    "wIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAA"
    "Av////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAHJtZGF0AAAAZigBrxOA+BDhp//8"
    "TSj/+nXPD9PMiYn/+tNSR/hUO//WicPySkWzrHl9nv8H4h1KpEq3xpK+HfM2sf+d4tvFAhneIy6JZXLEP+zlxMa+qdw77mN6"
    "fapRbf83mqG4xuGn3Gx6O58SuA=="
)
# Stored so that a turn by 90 degrees, as its EXIF says, brings red to the top.
TURNED = b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAGoAAgAAAAACVgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZo"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAA"
    "AwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAA"
    "AAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90"
    "AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAJZtZGF0AAAAZigBrxOA+BDh"
    "p//8TSj/+nXPD9PMiYn/+tNSR/hUO//WicPySkWzrHl9nv8H4h1KpEq3xpK+HfM2sf+d4tvFAhneIy6JZXLEP+zlxMa+qdw7"
    "7mN6fapRbf83mqG4xuGn3Gx6O58SuAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)

TILE = (64, 64)  # pixels as coded, of which 48 rows are shown in the plain file
REFUSED = DAMAGED | FOREIGN  # foreign where no decoder is installed


def heics() -> Iterator[Hostile]:
    """Yield all hostile HEIC files."""
    yield Hostile("heic without a picture", _box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(100), REFUSED)
    kind = TURNED.replace(b"\0\0Exif", b"\0\0Exi\xff", 1)
    yield Hostile("heic, item of which the decoder dies", kind, REFUSED)  # pi-heif 1.4 ends its process
    yield Hostile("heic, picture that is a part of itself", grid_of_itself(), REFUSED)
    canvas = grid(1, 1, 30_000, 30_000, named=TILE)
    yield Hostile("heic, canvas of 30000x30000", canvas, REFUSED | TOO_LARGE)
    yield Hostile("heic, grids of grids", grids_of_grids(5, 16), EITHER | FOREIGN, heavy=True)


def grid(
    n_rows: int,
    n_columns: int,
    width: int,
    height: int,
    *,
    named: tuple[int, int] | None = None,
) -> bytes:
    """Return a picture of n_rows x n_columns tiles with shared bytes on a canvas of width x height.

    `named` is the size that the file declares.
    """
    tiles = range(1, 1 + n_rows * n_columns)
    whole = len(tiles) + 1
    items = {n: (b"hvc1", _slice()) for n in tiles} | {
        whole: (b"grid", _grid(n_rows, n_columns, width, height))
    }
    return _file(items, {whole: [*tiles]}, named or (width, height))


def grids_of_grids(depth: int, n_each: int) -> bytes:
    """Return nested grids: each has the same `n_each` items, down to n_each ** depth tiles."""
    items = {n: (b"hvc1", _slice()) for n in range(1, 1 + n_each)}
    uses: dict[int, list[int]] = {}
    for level in range(1, depth):
        below = range(1 + (level - 1) * n_each, 1 + level * n_each)
        for n in range(1 + level * n_each, 1 + (level + 1) * n_each):
            items[n], uses[n] = (b"grid", _grid(1, n_each, *TILE)), [*below]
    return _file(items, uses, TILE)


def grid_of_itself() -> bytes:
    """Return a grid that contains itself."""
    return _file({1: (b"hvc1", _slice()), 2: (b"grid", _grid(1, 1, *TILE))}, {2: [2]}, TILE)


def _slice() -> bytes:
    return PLAIN[PLAIN.index(b"mdat") + 4 :]


def _configuration() -> bytes:
    at = PLAIN.index(b"hvcC")
    return PLAIN[at - 4 : at - 4 + int.from_bytes(PLAIN[at - 4 : at], "big")]


def _grid(n_rows: int, n_columns: int, width: int, height: int) -> bytes:
    return struct.pack(">BBBBHH", 0, 0, n_rows - 1, n_columns - 1, width, height)


def _file(
    items: dict[int, tuple[bytes, bytes]],
    uses: dict[int, list[int]],
    named: tuple[int, int],
) -> bytes:
    """Return a file of items (kind, data) by number, some made of others. The last item is shown."""
    primary = max(items)
    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    entries = [
        _box(b"infe", struct.pack(">IHH4sB", 2 << 24, n, 0, kind, 0)) for n, (kind, _) in items.items()
    ]
    known = [
        _configuration(),
        _box(b"ispe", struct.pack(">III", 0, *TILE)),
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
    """Return the associations: a tile has its configuration and size, the shown item the declared size."""
    indices = [0x81] * (kind == b"hvc1") + [3 if is_primary else 2]
    return struct.pack(f">HB{len(indices)}B", number, len(indices), *indices)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
