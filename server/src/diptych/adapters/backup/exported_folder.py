"""The file of a folder of exported collections: settings, label sets, what an import has to find again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from diptych.core.transfer import ExportedCollection
from diptych.durable import fsync_folder, write_durably
from diptych.errors import InvalidValue

COLLECTIONS_FILE = "collections.json"
FORMAT = 1


@dataclass(frozen=True)
class _File:
    format: int
    collections: tuple[ExportedCollection, ...]


_READER = TypeAdapter(_File)


def write_collections(folder: Path, collections: Sequence[ExportedCollection]) -> None:
    """Write the file, last of all: a folder without it is not a whole export. Raises OSError."""
    content = json.dumps(asdict(_File(FORMAT, tuple(collections))), ensure_ascii=False, indent=1).encode()
    unfinished = folder / f".tmp-{COLLECTIONS_FILE}"
    unfinished.unlink(missing_ok=True)
    write_durably(unfinished, content)
    unfinished.replace(folder / COLLECTIONS_FILE)
    fsync_folder(folder)


def read_collections(folder: Path) -> Sequence[ExportedCollection]:
    """Read the file. Raises InvalidValue naming it, unless it is one of a whole export."""
    file = folder / COLLECTIONS_FILE
    try:
        found = _READER.validate_json(file.read_bytes())
    except FileNotFoundError:
        raise InvalidValue(
            f"has no {COLLECTIONS_FILE}: `diptych collections export '*' FOLDER` writes it last", str(folder)
        ) from None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is none of an export"
        raise InvalidValue(f"cannot be read: {reason}", str(file)) from error
    if found.format > FORMAT:
        raise InvalidValue(
            f"has format {found.format}, this version of diptych knows up to {FORMAT}", str(file)
        )
    return found.collections
