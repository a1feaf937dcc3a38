"""The file `proof_set.npz` of a bundle: plain arrays, read without pickle and within limits.

picture_bytes  uint8   all WebP files, joined in the order of sources and items
picture_ends   int64   where each file ends
index          uint8   JSON in UTF-8: name, image size, further texts, sources with their items
"""

import io
import json
import zipfile
import zlib
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.errors import NotFound
from diptych_training.data.packed import Kind, PackedItem
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.proof_set import (
    PROOF,
    REHEARSAL,
    ProofSet,
    ProofSource,
    items_as_json,
)
from diptych_training.files import open_atomic

PROOF_SET_FILE = "proof_set.npz"
FORMAT = 1
MAX_ARRAY_BYTES = 64 * 2**20
MAX_PICTURES = 5_000
MAX_SIDE_PX = 1_024
MAX_PIXELS = 500_000_000  # of all pictures together, at the size that they are stored in
DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, RecursionError)


def read_proof_set(folder: Path) -> ProofSet | None:
    """The proof set of a bundle or run; None if it has none. Raises DataError naming the file."""
    file = folder / PROOF_SET_FILE
    return read_proof_set_file(file) if file.is_file() else None


def read_proof_set_file(file: Path) -> ProofSet:
    """Read a proof set; its pictures are not decoded. Raises DataError naming the file and what is wrong."""
    try:
        with zipfile.ZipFile(file) as archive:
            index = json.loads(_array(archive, "index", np.uint8).tobytes())
            ends = _array(archive, "picture_ends", np.int64)
            joined = _array(archive, "picture_bytes", np.uint8).tobytes()
        return _proof_set(index, _split(joined, ends.tolist()))
    except (*DAMAGE, DataError) as error:
        raise DataError(f"{file}: not a proof set: {error}") from error


def write_proof_set(file: Path, proof_set: ProofSet) -> None:
    """Write the file atomically. The same proof set always gives the same bytes."""
    pictures = [picture for source in proof_set.sources for picture in source.pictures]
    index = {
        "format": FORMAT,
        "name": proof_set.name,
        "image_size": proof_set.image_size,
        "texts": proof_set.texts,
        "sources": [_stated(source) for source in proof_set.sources],
    }
    with open_atomic(file) as opened:
        np.savez_compressed(
            opened,
            picture_bytes=np.frombuffer(b"".join(pictures), dtype=np.uint8),
            picture_ends=np.cumsum([len(picture) for picture in pictures], dtype=np.int64),
            index=np.frombuffer(json.dumps(index, ensure_ascii=False).encode(), dtype=np.uint8),
        )


def _stated(source: ProofSource) -> dict[str, object]:
    facts = {key: getattr(source, key) for key in ("name", "split", "kind", "licence", "author")}
    return {**facts, "items": items_as_json(source.items)}


def _array(archive: zipfile.ZipFile, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """A one-dimensional array of the archive. Its size is checked before anything of it is unpacked."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_ARRAY_BYTES:
        raise DataError(f"{name} has {member.file_size:,} bytes, limit is {MAX_ARRAY_BYTES:,}")
    file = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(file) != (1, 0):
        raise DataError(f"{name} has an array header of an unknown version")
    shape, _, found = np.lib.format.read_array_header_1_0(file)
    data = file.read()
    if found != np.dtype(dtype) or shape != (len(data) // found.itemsize,):
        raise DataError(f"{name} is {found} {shape}, it must be a row of {np.dtype(dtype)}")
    return np.frombuffer(data, dtype=found)


def _split(joined: bytes, ends: list[int]) -> list[bytes]:
    if len(ends) > MAX_PICTURES:
        raise DataError(f"it has {len(ends):,} pictures, limit is {MAX_PICTURES:,}")
    starts = [0, *ends[:-1]]
    if any(end <= start for start, end in zip(starts, ends, strict=True)) or ends[-1:] != [len(joined)]:
        raise DataError("picture_ends do not match picture_bytes")
    return [joined[start:end] for start, end in zip(starts, ends, strict=True)]


def _proof_set(index: dict[str, Any], pictures: list[bytes]) -> ProofSet:
    if index["format"] != FORMAT:
        raise DataError(f"its format is {index['format']!r}, this reader knows {FORMAT}")
    size = index["image_size"]
    if not (isinstance(size, int) and 1 <= size <= MAX_SIDE_PX):
        raise DataError(f"image_size is {size!r}, it must be from 1 to {MAX_SIDE_PX}")
    if len(pictures) * size**2 > MAX_PIXELS:
        raise DataError(f"{len(pictures):,} pictures of {size} px exceed {MAX_PIXELS:,} pixels")
    ends = list(accumulate(len(source["items"]) for source in index["sources"]))
    if ends[-1:] != [len(pictures)]:
        raise DataError(f"it has {len(pictures):,} pictures and {ends[-1] if ends else 0:,} items")
    parts = zip(index["sources"], [0, *ends[:-1]], ends, strict=True)
    sources = tuple(_source(stated, tuple(pictures[start:end])) for stated, start, end in parts)
    if len({source.name for source in sources}) < len(sources):
        raise DataError("two sources have the same name")
    return ProofSet(_text(index["name"]), size, sources, _texts(index["texts"]))


def _source(stated: dict[str, Any], pictures: tuple[bytes, ...]) -> ProofSource:
    name, split, kind = _text(stated["name"]), stated["split"], stated["kind"]
    if split not in (PROOF, REHEARSAL) or kind not in get_args(Kind):
        raise DataError(f"source {name!r} has split {split!r} and kind {kind!r}")
    if not pictures or Path(name).name != name or name.startswith(".") or "\0" in name:  # it names files
        raise DataError(f"source {name!r} has no pictures or no plain name")
    return ProofSource(
        name=name,
        split=split,
        kind=kind,
        licence=_text(stated["licence"]),
        author=_text(stated["author"]),
        items=tuple(_item(row) for row in stated["items"]),
        pictures=pictures,
    )


def _item(row: dict[str, Any]) -> PackedItem:
    return PackedItem(
        id=_text(row["id"]),
        label=_text(row["label"]),
        keywords=_texts(row["keywords"]),
        captions=_texts(row["captions"]),
        weight=float(row["weight"]),
        near_train=bool(row["near_train"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r:.80} is not a list of texts")
    return tuple(_text(value) for value in values)


def proof_set_file(folder: Path) -> Path | None:
    """The file of a bundle or run; None if it has none."""
    file = folder / PROOF_SET_FILE
    return file if file.is_file() else None


def default_proof_set_file(repository: ModelRepository) -> Path | None:
    """The file of the newest version of the default model that has one; None if there is none."""
    try:
        versions = repository.versions(SHIPPED_NAME)
    except NotFound:
        return None
    folders = (repository.folder(SHIPPED_NAME, version) for version in reversed(versions))
    return next((file for folder in folders if (file := proof_set_file(folder)) is not None), None)


def proof_set_to_evaluate(repository: ModelRepository, folder: Path) -> ProofSet | None:
    """The proof set to judge and to rehearse a bundle or run on: its own, if that has a rehearsal part.

    Else the default model's, as for imports, whose own set is only for parity. None if the repository has
    none. Raises DataError naming a file that is damaged.
    """
    own = read_proof_set(folder)
    if own is not None and own.has_rehearsal:
        return own
    file = default_proof_set_file(repository)
    return None if file is None else read_proof_set_file(file)
