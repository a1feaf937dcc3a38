"""Find the image files that `diptych add` sends, with their ids and metadata."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from diptych.bundle.image.formats import IMAGE_SUFFIXES
from diptych.cli.output.console import err
from diptych.cli.text_reader import read_lines
from diptych.core.collections.metadata.reserved import FILE, file_metadata, file_path, reserved_name
from diptych.errors import InvalidValue
from diptych_client import Client, ImageUrl

IdFrom = Literal["content", "name"]

MAX_ID_CHARS = 128
HASH_DIGITS = 12  # 48 bits: among 100,000 hashed names, the odds of one collision are 1 to 50,000
LOOKUP_AT_ONCE = 1_000

_NAME_THAT_STAYS = re.compile(rf"[A-Za-z0-9._/-]{{1,{MAX_ID_CHARS}}}")


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
    found: dict[str, Source] = {}
    for path in paths:
        if not path.exists():
            raise InvalidValue("no such file or folder", str(path))
        for source in _in_folder(path, recursive) if path.is_dir() else [Source(path, path.name)]:
            found.setdefault(os.path.realpath(source.path), source)  # resolve() raises at links to themselves
    return list(found.values())


def expand_folders(images: Iterable[Path | ImageUrl]) -> list[Path | ImageUrl]:
    """Return the files and URLs, and in place of each folder its images. Raises InvalidValue without any.

    Names on stderr what a folder has that is no regular file, such as a pipe, and leaves it out.
    """
    expanded: list[Path | ImageUrl] = []
    for image in images:
        if isinstance(image, Path) and image.is_dir():
            found = _regular_files(find_images([image], recursive=True))
            if not found:
                raise InvalidValue("no image files in this folder", str(image))
            expanded.extend(found)
        else:
            expanded.append(image)
    return expanded


def _regular_files(sources: Iterable[Source]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if source.path.is_file():
            found.append(source.path)
        else:
            err(f"left out: {source.path}: is not a regular file")
    return found


def _in_folder(folder: Path, recursive: bool) -> Iterator[Source]:
    for directory, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if recursive else []
        for file in sorted(files):
            path = Path(directory, file)
            if not file.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES:
                yield Source(path, path.relative_to(folder).as_posix())


def describe(
    sources: Iterable[Source],
    id_from: IdFrom,
    items: Mapping[str, dict[str, Any]],
    older_ids: Mapping[str, str] | None = None,
) -> tuple[list[Source], list[str]]:
    """Return the sources with ids and metadata, and the files that `items` describes but that were not found.

    Metadata always has the place of the file as `file`, so that hits can be recognised and filtered.
    `older_ids` are ids that files keep, by name: see `find_older_ids`. Raises InvalidValue when two files get
    the same id.
    """
    sources = list(sources)
    made = _ids_of_names(sources, older_ids or {}) if id_from == "name" else {}
    described = [_described(source, made.get(source.name), items.get(source.name, {})) for source in sources]
    owner: dict[str, str] = {}
    for source in described:
        if source.id is not None and owner.setdefault(source.id, source.name) != source.name:
            raise InvalidValue(f"gets the id {source.id!r}, which {owner[source.id]} also gets", source.name)
    names = {source.name for source in described}
    return described, [name for name in items if name not in names]


def _ids_of_names(sources: Sequence[Source], older_ids: Mapping[str, str]) -> dict[str, str]:
    """Return the id of each name. A file whose id another one keeps gets a hash, too."""
    keeper: dict[str, str] = {}
    for source in sources:
        if source.name in older_ids:
            keeper.setdefault(older_ids[source.name], source.name)
    kept = {name: id for id, name in keeper.items()}
    made = {source.name: kept.get(source.name) or id_of_name(source.name) for source in sources}
    return {name: _hashed_id(name) if keeper.get(id, name) != name else id for name, id in made.items()}


def _described(source: Source, made_id: str | None, item: dict[str, Any]) -> Source:
    file_name = os.fsencode(source.name).decode(errors="replace")  # not every file name is Unicode
    metadata = {FILE: file_metadata(file_name, _modified_s(source.path))} | item.get("metadata", {})
    return replace(source, id=item.get("id") or made_id, metadata=metadata)


def _modified_s(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:  # it fails when it is read
        return None


def id_of_name(name: str) -> str:
    """Make an id of a file name: the name with `/` as `~`, or an id with a hash of the name at its end.

    The hash is for names with other characters (`~` too) and for long ones, since different names would get
    one id without it. The id depends on the name alone, not on other files: a file that comes or goes
    changes no other id, so that a folder can be added again, also in parts, and nothing is stored twice.
    """
    return name.replace("/", "~") if _NAME_THAT_STAYS.fullmatch(name) else _hashed_id(name)


def _hashed_id(name: str) -> str:
    digits = sha256(os.fsencode(name)).hexdigest()[:HASH_DIGITS]
    return f"{_replaced(name)[-(MAX_ID_CHARS - HASH_DIGITS - 1) :]}-{digits}"


def _replaced(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._~-]", "-", name.replace("/", "~"))


def find_older_ids(client: Client, collection: str, sources: Iterable[Source]) -> dict[str, str]:
    """Return the ids, by name, that files have in the collection from 0.1.0, which added no hash.

    An image belongs to the file that its metadata name: several names could get its id.
    """
    hashed = [source for source in sources if source.id == _hashed_id(source.name)]
    older: dict[str, str] = {}
    for start in range(0, len(hashed), LOOKUP_AT_ONCE):
        with_ids = [
            (source, _replaced(source.name)[-MAX_ID_CHARS:])
            for source in hashed[start : start + LOOKUP_AT_ONCE]
        ]
        records = client.find_images(collection, sorted({id for _, id in with_ids}))
        for source, id in with_ids:
            if id in records and file_path(records[id].metadata) == file_path(source.metadata or {}):
                older[source.name] = id
    return older


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
    if name := reserved_name(item.get("metadata", {})):
        what = "is reserved for what diptych writes itself: choose another"
        raise InvalidValue(f"metadata has the name {name[:40]!r}, which {what}", where)
    return item
