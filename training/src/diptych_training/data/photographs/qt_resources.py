"""Read Qt's binary resource files (`.rcc`): a tree of named files in one file.

A header says where tree, data and names begin. A node of the tree is a folder (how many children, from which
node on) or a file (where its data begins). All numbers are big-endian.
"""

import struct
import zlib
from collections.abc import Iterator

from diptych_training.errors import DataError

MAGIC = b"qres"
NODE_BYTES = {1: 14, 2: 22, 3: 22}  # by version: later ones add the time of a file
COMPRESSED, FOLDER, ZSTANDARD = 1, 2, 4  # flags of a node


def read_resources(content: bytes) -> dict[str, bytes]:
    """The files by their path. DataError if the content is no such file, or packed with Zstandard."""
    try:
        if content[:4] != MAGIC:
            raise DataError("not a Qt resource file")
        return dict(_Resources(content).files(node=0, folder=""))
    except (struct.error, zlib.error, KeyError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"a Qt resource file is damaged: {error!r}") from error


class _Resources:
    def __init__(self, content: bytes) -> None:
        version, self._tree, self._data, self._names = struct.unpack_from(">4I", content, len(MAGIC))
        self._content, self._node_bytes = content, NODE_BYTES[version]

    def files(self, node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        """The files of a node: itself, or what lies below it."""
        at = self._tree + node * self._node_bytes
        name_at, flags = self._unpack(">IH", at)
        path = folder + ("" if node == 0 else self._name(name_at))
        if flags & FOLDER:
            n_children, first = self._unpack(">II", at + 6)
            for child in range(first, first + n_children):
                yield from self.files(child, f"{path}/" if path else "")
        else:
            yield path, self._file(self._unpack(">I", at + 10)[0], flags)

    def _name(self, at: int) -> str:
        """UTF-16 after its length and a hash."""
        start = self._names + at
        (length,) = self._unpack(">H", start)
        return self._content[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def _file(self, at: int, flags: int) -> bytes:
        start = self._data + at
        (n_bytes,) = self._unpack(">I", start)
        stored = self._content[start + 4 : start + 4 + n_bytes]
        if flags & ZSTANDARD:
            raise DataError("a Qt resource file is packed with Zstandard, which is not supported")
        return zlib.decompress(stored[4:]) if flags & COMPRESSED else stored  # after the unpacked size

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self._content, at)
