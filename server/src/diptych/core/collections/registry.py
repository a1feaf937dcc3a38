"""All collections of a data folder in memory: opened, made, renamed, dropped; knows nothing of adding."""

import logging
from collections.abc import Callable, Iterator

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.ports import ImageStore, RecordStore, VectorIndex
from diptych.core.collections.reembed import Reembedder
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.ports import Metrics
from diptych.core.types import CollectionChange, CollectionInfo, Keep
from diptych.errors import Conflict, DiptychError, InvalidValue, NotFound

log = logging.getLogger(__name__)


class CollectionRegistry:
    """One shelf for each collection, by name. All that changes them runs inside a write, but for `open`."""

    def __init__(
        self,
        *,
        engines: PipelinePool,
        images: ImageStore,
        files: FileReferences,
        records: RecordStore,
        reembedder: Reembedder,
        new_index: Callable[[], VectorIndex],
        metrics: Metrics,
    ) -> None:
        self._engines = engines
        self._images = images
        self._records = records
        self._files = files
        self._reembedder = reembedder
        self._new_index = new_index
        self._metrics = metrics
        self._shelves: dict[str, LoadedCollection] = {}
        self._background = TaskSet()

    def __getitem__(self, name: str) -> LoadedCollection:
        if name not in self._shelves:
            raise NotFound(f"no collection named {name[:80]!r}")
        return self._shelves[name]

    def __contains__(self, name: str) -> bool:
        return name in self._shelves

    def __iter__(self) -> Iterator[LoadedCollection]:
        """All of them, by name."""
        return iter([self._shelves[name] for name in sorted(self._shelves)])

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, begin to embed what must be again."""
        await self._files.remove_unused(await self._images.stored())
        for info in await self._records.collections():
            await self._open(info)

    async def stop(self) -> None:
        """Embed no more in the background."""
        await self._background.close()

    async def close(self) -> None:
        """Let go of the indexes."""
        for shelf in self:
            await shelf.index.close()

    def require_free(self, name: str) -> None:
        """Raises Conflict when the name is taken."""
        if name in self:
            raise Conflict(f"there is a collection named {name!r} already")

    async def create(
        self, name: str, keep: Keep, precision: str, engine: EncoderPipeline
    ) -> LoadedCollection:
        """A new, empty one of the served model, which lets go of `engine` in the end.

        Raises Conflict when the name is taken.
        """
        try:
            info = await self._records.create_collection(name, engine.model.name, keep, precision)
        except BaseException:
            self._engines.let_go(engine)
            raise
        return self._place(info, engine)

    def require_renamable(self, shelf: LoadedCollection, name: str) -> None:
        """Raises Conflict when the name is that of another."""
        if name != shelf.name:
            self.require_free(name)

    async def change(
        self, shelf: LoadedCollection, change: CollectionChange, engine: EncoderPipeline | None
    ) -> None:
        """All of it or nothing. `engine` is to make its vectors, and is let go of in the end.

        Images are embedded again then, unless it makes them already; after a failure it tries once more.
        Raises NotFound when it was dropped, Conflict when the name is taken, a job adds to it, or there are
        rows that could not be embedded again.
        """
        name, keep = change.name or shelf.name, change.keep or shelf.keep
        precision = change.precision or shelf.precision
        try:
            shelf.require_kept()
            self.require_renamable(shelf, name)
            missing = await self._require_embeddable(shelf, precision, engine)
            with shelf.renaming():
                await self._records.change_collection(shelf.name, name, keep, precision)
                self._rename(shelf, name)
        except BaseException:
            if engine is not None:
                self._engines.let_go(engine)
            raise
        shelf.keep, shelf.precision = keep, precision
        if engine is None:
            return
        if engine is shelf.engine and shelf.state != "failed":
            self._engines.let_go(engine)  # it was taken once more
        else:
            await self._change_engine(shelf, engine, missing)

    async def drop(self, shelf: LoadedCollection) -> None:
        """Remove it, its rows, and their files unless another collection uses them. Raises NotFound."""
        shelf.require_kept()
        removed = await self._records.drop_collection(shelf.name)
        del self._shelves[shelf.name]
        await shelf.drop()
        if shelf.engine is not None:
            self._engines.let_go(shelf.engine)
        await self._files.remove(removed.released)

    async def _open(self, info: CollectionInfo) -> None:
        if info.model != self._engines.common.model.name:
            self._place(info, None).state = "other_model"
            return
        try:
            engine = await self._engines.take(info.precision, at_start=True)
        except InvalidValue as error:
            log.warning("collection %s is not served: %s", info.name, error.message)
            shelf = self._place(info, None)
            shelf.state, shelf.reason = "no_precision", error.message
            return
        shelf, model = self._place(info, engine), engine.model
        missing = await self._records.missing(shelf.name, model.identity)
        if missing:
            log.warning(
                "collection %s: %d of %d images have no vector of %s/%d in %s yet",
                *(shelf.name, len(missing), shelf.n_images, model.name, model.version, model.precision),
            )
        await self._fill(shelf, engine, missing)

    def _place(self, info: CollectionInfo, engine: EncoderPipeline | None) -> LoadedCollection:
        shelf = LoadedCollection(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            engine=engine,
            index=self._new_index(),
            metrics=self._metrics,
            state="ready",
            n_images=info.n_images,
            keep=info.keep,
            precision=info.precision,
        )
        self._shelves[shelf.name] = shelf
        shelf.measure()
        return shelf

    def _rename(self, shelf: LoadedCollection, name: str) -> None:
        self._metrics.set_collection(shelf.name, None)
        del self._shelves[shelf.name]
        shelf.rename(name)
        self._shelves[name] = shelf
        shelf.measure()

    async def _require_embeddable(
        self, shelf: LoadedCollection, precision: str, engine: EncoderPipeline | None
    ) -> dict[int, bool]:
        """Keys of rows without a vector by `engine`. Raises Conflict unless all their images are kept."""
        if engine is None:
            return {}
        shelf.require_model()
        missing = await self._records.missing(shelf.name, engine.model.identity)
        n_unkept = sum(not kept for kept in missing.values())
        if n_unkept and engine is not shelf.engine:
            raise Conflict(
                f"collection {shelf.name!r} cannot take precision {precision!r}: {n_unkept} of "
                f"{shelf.n_images} rows keep no image that could be embedded again"
            )
        return missing

    async def _change_engine(
        self, shelf: LoadedCollection, engine: EncoderPipeline, missing: dict[int, bool]
    ) -> None:
        """Nobody finds anything until all is embedded. What fails here, the next start does again."""
        left, old_index = shelf.engine, shelf.index
        shelf.engine, shelf.index, shelf.state, shelf.reason = engine, self._new_index(), "embedding", ""
        shelf.pending, shelf.stranded = set(missing), set()
        try:
            await self._fill(shelf, engine, missing)
        except Exception as error:
            shelf.fail(str(error) if isinstance(error, DiptychError) else type(error).__name__)
            raise
        finally:
            if left is not None:
                self._engines.let_go(left)
            await old_index.close()

    async def _fill(self, shelf: LoadedCollection, engine: EncoderPipeline, missing: dict[int, bool]) -> None:
        """Put what is embedded into the index, and begin to embed the images that are `missing`."""
        shelf.pending = set(missing)
        shelf.stranded = {key for key, kept in missing.items() if not kept}
        async for keys, rows, damaged in self._records.embeddings(shelf.name, engine.model.identity):
            await shelf.fill(keys, rows)
            for key in damaged:
                log.warning("collection %s: the vector of row %d is damaged", shelf.name, key)
            shelf.pending.update(damaged)
        shelf.settle()
        if shelf.pending - shelf.stranded:
            shelf.state = "embedding"
            self._background.start(
                self._reembedder.run(shelf, engine, shelf.index), f"embedding collection {shelf.name}"
            )
