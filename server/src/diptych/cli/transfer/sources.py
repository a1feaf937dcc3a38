"""Find the image files that `diptych add` sends, with their ids and metadata."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from diptych.cli.text_reader import read_lines
from diptych.errors import InvalidValue

IdFrom = Literal["content", "name"]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
MAX_ID_CHARS = 128


@dataclass(frozen=True)
class Source:
    """One image file. `name` is its path inside the given folder. Without `id` the server makes one."""

    path: Path
    name: str
    id: str | None = None
    metadata: dict[str, Any] | None = None


def find_images(paths: Sequence[Path], recursive: bool) -> list[Source]:
    """Return the given files and the image files in the given folders, each once, in a stable order.

    In folders, image files are recognised by their suffix. Hidden files are left out, and links to folders
    are not followed. Raises InvalidValue for a path that does not exist.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        if not path.exists():
            raise InvalidValue("no such file or folder", str(path))
        for source in _in_folder(path, recursive) if path.is_dir() else [Source(path, path.name)]:
            found.setdefault(source.path.resolve(), source)
    return list(found.values())


def _in_folder(folder: Path, recursive: bool) -> Iterator[Source]:
    for directory, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if recursive else []
        for file in sorted(files):
            path = Path(directory, file)
            if not file.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
                yield Source(path, path.relative_to(folder).as_posix())


def describe(
    sources: Iterable[Source], id_from: IdFrom, items: dict[str, dict[str, Any]]
) -> tuple[list[Source], list[str]]:
    """Return the sources with ids and metadata, and the files that `items` describes but that were not found.

    Metadata always has the name of the file as `file`, so that a hit can be recognised. Raises InvalidValue
    when two files get the same id.
    """
    described = [_described(source, id_from, items.get(source.name, {})) for source in sources]
    owner: dict[str, str] = {}
    for source in described:
        if source.id is not None and owner.setdefault(source.id, source.name) != source.name:
            raise InvalidValue(f"gets the id {source.id!r}, which {owner[source.id]} also gets", source.name)
    names = {source.name for source in described}
    return described, [name for name in items if name not in names]


def _described(source: Source, id_from: IdFrom, item: dict[str, Any]) -> Source:
    own_id = item.get("id")
    made_id = id_of_name(source.name) if id_from == "name" else None
    file_name = os.fsencode(source.name).decode(errors="replace")  # not every file name is Unicode
    return replace(source, id=own_id or made_id, metadata={"file": file_name} | item.get("metadata", {}))


def id_of_name(name: str) -> str:
    """Make an id of a file name: `/` becomes `~`, forbidden characters `-`; long names lose their start."""
    return re.sub(r"[^A-Za-z0-9._~-]", "-", name.replace("/", "~"))[-MAX_ID_CHARS:]


def read_items(file: Path) -> dict[str, dict[str, Any]]:
    """Read `{"file": .., "id": .., "metadata": {..}}` lines, by file. Raises InvalidValue naming the line."""
    items: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            item = _parse_item(line, f"{file}:{number}")
            items[item["file"]] = item
    return items


def _parse_item(line: str, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except ValueError as error:
        raise InvalidValue(f"is not JSON: {error}", where) from error
    if not isinstance(item, dict) or not isinstance(item.get("file"), str):
        raise InvalidValue('is not an object with a "file"', where)
    if unknown := sorted(item.keys() - {"file", "id", "metadata"}):
        raise InvalidValue(f"has unknown keys {unknown}; file, id and metadata are known", where)
    if not isinstance(item.get("id", ""), str) or not isinstance(item.get("metadata", {}), dict):
        raise InvalidValue('"id" must be a string and "metadata" an object', where)
    return item
