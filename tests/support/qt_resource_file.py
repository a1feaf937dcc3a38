"""Writes Qt resource files, as Qt's `rcc` does."""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

Tree = dict[str, Any]  # name -> a folder, again such a tree, or the content of a file


def resource_file(files: Mapping[str, bytes], *, compressed: bool = False, zstandard: bool = False) -> bytes:
    """A resource file of version 2 with these files by their path."""
    nodes, names, data = _laid_out(_tree(files)), bytearray(), bytearray()
    tree = bytearray()
    for name, content, first in nodes:
        name_at = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(content, bytes):
            stored = struct.pack(">I", len(content)) + zlib.compress(content) if compressed else content
            tree += struct.pack(">IHIIQ", name_at, 1 * compressed | 4 * zstandard, 0, len(data), 0)
            data += struct.pack(">I", len(stored)) + stored
        else:
            tree += struct.pack(">IHIIQ", name_at, 2, len(content), first, 0)
    start = 20
    offsets = start + len(data) + len(names), start, start + len(data)  # of tree, data and names
    return b"qres" + struct.pack(">4I", 2, *offsets) + bytes(data) + bytes(names) + bytes(tree)


def _tree(files: Mapping[str, bytes]) -> Tree:
    root: Tree = {}
    for path, content in files.items():
        *folders, name = path.split("/")
        at = root
        for folder in folders:
            at = at.setdefault(folder, {})
        at[name] = content
    return root


def _laid_out(root: Tree) -> list[tuple[str, Any, int]]:
    """Name, content and first child of each node; the children of a folder follow one another."""
    nodes: list[tuple[str, Any]] = [("", root)]
    placed = []
    for name, content in nodes:  # grows while it is read
        placed.append((name, content, len(nodes)))
        if isinstance(content, dict):
            nodes.extend(content.items())
    return placed
