"""Collections of vectors that are large by a threshold of a thousand rows."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from diptych.adapters.faiss.cpu_index import Approximation
from diptych.adapters.faiss.threads import training_thread
from diptych.adapters.files.index_files import FOLDER, IndexFiles
from diptych.adapters.files.quota import Quota
from diptych.core.types import NewVector, VectorOrigin
from integration.store_parts import Opened
from support.clumped_rows import clumped
from support.tiny_bundle import EMBED_DIM, TINY
from unit.core.core_fakes import until

N = 1_200
MIN_ROWS = 1_000
ROWS = clumped(3 * N, seed=2)  # of the images 0, 1, 2 ...
assert ROWS.shape[1] == EMBED_DIM


def opened(
    model_repo: Path, data_dir: Path, version: int = 1, *, min_rows: int = MIN_ROWS, tend_s: float = 0.01
) -> Opened:
    """Open a data folder, with its index files."""
    return Opened(model_repo, data_dir, version, lists=approximation(data_dir, min_rows), tend_s=tend_s)


def approximation(data_dir: Path, min_rows: int) -> Approximation:
    """Indexes of so many rows and more are trained, with files in the data folder."""
    data_dir.mkdir(exist_ok=True)
    files = IndexFiles(data_dir / FOLDER, Quota(), lambda n_bytes: None)
    return Approximation(training_thread(), files, min_rows=min_rows, max_compared=50, chunk_rows=1_000)


async def add_rows(store: Opened, numbers: Sequence[int], collection: str = "default") -> None:
    """Add the images of these numbers."""
    origin = VectorOrigin(TINY, 1)
    items = [NewVector(ROWS[n], f"image-{n}", {"name": f"picture of a {n}"}) for n in numbers]
    for start in range(0, len(items), 400):
        await store.collections.add_vectors(collection, origin, items[start : start + 400])


async def until_saved(store: Opened, collection: str = "default", kind: str = "ivf") -> None:
    """Wait until the index is trained and on disk."""
    vectors = store.pair(collection).index.vectors
    await until(
        lambda: vectors.placement.kind == kind and not (vectors.needs_training or vectors.needs_saving)
    )


async def require_found(store: Opened, numbers: Sequence[int], collection: str = "default") -> None:
    """Every one of these images is the nearest to its own vector, and there are no others."""
    found = await store.search(collection, ROWS[0], k=4 * N, exact=True)
    assert sorted(hit.id for hit in found) == sorted(f"image-{n}" for n in numbers)
    for n in numbers[:: max(1, len(numbers) // 40)]:
        (hit,) = await store.search(collection, ROWS[n], k=1)
        assert hit.id == f"image-{n}"
        assert np.isclose(hit.cosine, 1, atol=1e-5)


async def stored(store: Opened, collection: str = "default") -> list[int]:
    """The numbers of the images that the store has."""
    keys = await store.records.rows.keys(store.collections[collection].number)
    records = await store.records.rows.by_key(keys)
    return sorted(int(record.id.removeprefix("image-")) for record in records.values())


def index_files(data_dir: Path) -> list[str]:
    """The suffixes of the files of indexes."""
    with suppress(FileNotFoundError):
        return sorted(path.suffix for path in (data_dir / FOLDER).iterdir())
    return []
