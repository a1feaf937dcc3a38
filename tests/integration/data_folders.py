"""Create and read data folders through the store's adapters, without a model."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.stored.ids import sha256_of
from diptych.core.types import ImageRecord, NewRow, VersionRef
from diptych.errors import Conflict
from support.child_python import python_path

COLLECTION, IDENTITY = "pets", "tiny/1"
REF = VersionRef("tiny", 1, "0" * 64)  # as if it made the vectors of any identity

Work = Callable[[SqliteStore, ImageFiles], Awaitable[None]]


def change(data_dir: Path, work: Work) -> None:
    """Open the data folder as a server does, run `work` on it, and close it."""

    async def opened() -> None:
        store = SqliteStore(data_dir)
        try:
            await work(store, ImageFiles(data_dir))
        finally:
            await store.close()

    asyncio.run(opened())


def add(data_dir: Path, images: Mapping[str, bytes], identity: str = IDENTITY) -> None:
    """Add images by id; each file is written before its row."""

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, images, identity)

    change(data_dir, work)


async def created(store: SqliteStore, name: str = "c", identity: str = "i") -> int:
    """Create a collection; return its number."""
    return (await store.catalogue.create(name, "original", identity, REF)).number


async def number_of(store: SqliteStore, name: str) -> int:
    """The number of an existing collection."""
    (number,) = [one.number for one in await store.catalogue.list() if one.name == name]
    return number


async def put(
    store: SqliteStore, files: ImageFiles, images: Mapping[str, bytes], identity: str = IDENTITY
) -> None:
    """Add images by id to an open data folder."""
    with suppress(Conflict):
        await store.catalogue.create(COLLECTION, "original", identity, REF)
    c = await number_of(store, COLLECTION)
    await files.put({sha256_of(payload): payload for payload in images.values()})
    rows = [row(id, payload) for id, payload in images.items()]
    for result in (await store.writer.put(c, rows, identity=identity, replace=True)).results:
        await files.remove([] if result.released is None else [result.released])


async def delete(store: SqliteStore, files: ImageFiles, id: str) -> None:
    """Delete an image: its row, then its file."""
    c = await number_of(store, COLLECTION)
    await files.remove((await store.writer.delete(c, await store.rows.keys(c, [id]))).released)


def row(id: str, payload: bytes) -> NewRow:
    """Return a row whose metadata and embedding hold the length of its image file."""
    embedding = np.full(4, len(payload), np.float32)
    return NewRow(id, sha256_of(payload), len(payload), "image/png", 4, 5, {"n": len(payload)}, embedding)


def contents(data_dir: Path) -> dict[str, bytes]:
    """Return the bytes of all images by id, after checking the metadata and embedding of each."""
    found: dict[str, bytes] = {}

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        c = await number_of(store, COLLECTION)
        records: list[ImageRecord] = await store.rows.page(c, None, 100_000)
        for record in records:
            found[record.id] = await files.get(record.sha256)
            embedding = await store.vectors.find(c, record.id, IDENTITY)
            assert embedding is not None
            n_bytes = len(found[record.id])
            assert (record.metadata, embedding.tolist()) == ({"n": n_bytes}, [n_bytes] * 4)

    change(data_dir, work)
    return found


def in_a_process_that_is_killed(data_dir: Path, ids: list[str]) -> None:
    """Add images to the folder in another process, which kills itself before it closes anything."""
    code = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from integration.data_folders import ImageFiles, SqliteStore, put\n"
        "async def main():\n"
        "    folder = Path(sys.argv[1])\n"
        "    await put(SqliteStore(folder), ImageFiles(folder), {id: id.encode() for id in sys.argv[2:]})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": python_path()}
    killed = subprocess.run(
        [sys.executable, "-c", code, str(data_dir), *ids], env=environment, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
