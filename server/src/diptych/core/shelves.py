"""All collections of a data folder in memory: opened, made, renamed, dropped; knows nothing of adding."""

import logging
from collections.abc import Callable, Iterator

from diptych.core.background import Background
from diptych.core.claimed_files import ClaimedFiles
from diptych.core.ports import ImageStore, Metrics, RecordStore, VectorIndex
from diptych.core.reembed import Reembedder
from diptych.core.shelf import Shelf
from diptych.core.types import CollectionInfo, Keep, ModelInfo
from diptych.errors import Conflict, NotFound

log = logging.getLogger(__name__)


class Shelves:
    """One shelf for each collection, by name. All that changes them runs inside a write, but for `open`."""

    def __init__(
        self,
        *,
        model: ModelInfo,
        images: ImageStore,
        files: ClaimedFiles,
        records: RecordStore,
        reembedder: Reembedder,
        new_index: Callable[[], VectorIndex],
        metrics: Metrics,
    ) -> None:
        self._model = model
        self._images = images
        self._records = records
        self._files = files
        self._reembedder = reembedder
        self._new_index = new_index
        self._metrics = metrics
        self._shelves: dict[str, Shelf] = {}
        self._background = Background()

    def __getitem__(self, name: str) -> Shelf:
        if name not in self._shelves:
            raise NotFound(f"no collection named {name[:80]!r}")
        return self._shelves[name]

    def __contains__(self, name: str) -> bool:
        return name in self._shelves

    def __iter__(self) -> Iterator[Shelf]:
        """All of them, by name."""
        return iter([self._shelves[name] for name in sorted(self._shelves)])

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, begin to embed what must be again."""
        collections = await self._records.collections()
        await self._remove_orphans(any_known=any(info.n_images for info in collections))
        for info in collections:
            shelf = self._place(info)
            if shelf.state != "other_model":
                await self._fill(shelf)

    async def stop(self) -> None:
        """Embed no more in the background."""
        await self._background.close()

    async def close(self) -> None:
        """Let go of the indexes."""
        for shelf in self:
            await shelf.index.close()

    async def create(self, name: str, keep: Keep) -> Shelf:
        """A new, empty one of the served model. Raises Conflict when the name is taken."""
        return self._place(await self._records.create_collection(name, self._model.name, keep))

    async def rename(self, name: str, new_name: str) -> None:
        """Raises NotFound, Conflict when the name is taken."""
        shelf = self[name]
        if new_name in self and new_name != name:
            raise Conflict(f"there is a collection named {new_name!r} already")
        await self._records.rename_collection(name, new_name)
        self._metrics.set_collection(name, None)
        del self._shelves[name]
        shelf.name = new_name
        self._shelves[new_name] = shelf
        shelf.measure()

    async def configure(self, name: str, keep: Keep) -> None:
        """Images that are added from now on are kept, or not; those that are there stay as they are."""
        shelf = self[name]
        await self._records.configure_collection(name, keep)
        shelf.keep = keep

    async def drop(self, name: str) -> None:
        """Remove it, its rows, and their files unless another collection uses them."""
        shelf = self[name]
        removed = await self._records.drop_collection(name)
        del self._shelves[name]
        await shelf.drop()
        await self._files.remove(removed.released)

    def _place(self, info: CollectionInfo) -> Shelf:
        shelf = Shelf(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            index=self._new_index(),
            metrics=self._metrics,
            state="ready" if info.model == self._model.name else "other_model",
            n_images=info.n_images,
            keep=info.keep,
        )
        self._shelves[shelf.name] = shelf
        shelf.measure()
        return shelf

    async def _remove_orphans(self, *, any_known: bool) -> None:
        stored = await self._images.stored()
        if stored and not any_known:  # a lost database looks like this, and its files are all that is left
            log.warning("%d image files are kept although the database knows no image", len(stored))
            return
        await self._files.remove_unused(stored)

    async def _fill(self, shelf: Shelf) -> None:
        missing = await self._records.missing(shelf.name, self._model.identity)
        shelf.pending.update(missing)
        shelf.stranded.update(key for key, kept in missing.items() if not kept)
        async for keys, rows in self._records.embeddings(shelf.name, self._model.identity):
            await shelf.fill(keys, rows)
        shelf.settle()
        if shelf.pending - shelf.stranded:
            shelf.state = "embedding"
            self._background.start(self._reembedder.run(shelf), f"embedding collection {shelf.name}")
