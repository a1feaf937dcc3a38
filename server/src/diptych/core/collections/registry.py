"""The collections of a data folder: opened, created, changed, dropped."""

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
    """The loaded collections by name. Methods that change them run inside a write, except `open`."""

    def __init__(
        self,
        *,
        pipelines: PipelinePool,
        images: ImageStore,
        files: FileReferences,
        records: RecordStore,
        reembedder: Reembedder,
        new_index: Callable[[], VectorIndex],
        metrics: Metrics,
    ) -> None:
        self._pipelines = pipelines
        self._images = images
        self._records = records
        self._files = files
        self._reembedder = reembedder
        self._new_index = new_index
        self._metrics = metrics
        self._collections: dict[str, LoadedCollection] = {}
        self._background = TaskSet()

    def __getitem__(self, name: str) -> LoadedCollection:
        if name not in self._collections:
            raise NotFound(f"no collection named {name[:80]!r}")
        return self._collections[name]

    def __contains__(self, name: str) -> bool:
        return name in self._collections

    def __iter__(self) -> Iterator[LoadedCollection]:
        """All collections, by name."""
        return iter([self._collections[name] for name in sorted(self._collections)])

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, and start to embed images that need it."""
        await self._files.remove_unused(await self._images.stored())
        for info in await self._records.collections():
            await self._open(info)

    async def stop(self) -> None:
        """Stop embedding in the background."""
        await self._background.close()

    async def close(self) -> None:
        """Close the indexes."""
        for collection in self:
            await collection.index.close()

    def require_name_free(self, name: str) -> None:
        """Raise Conflict when the name is taken."""
        if name in self:
            raise Conflict(f"there is a collection named {name!r} already")

    async def create(
        self, name: str, keep: Keep, precision: str, pipeline: EncoderPipeline
    ) -> LoadedCollection:
        """Create an empty collection of the served model; it releases `pipeline` in the end.

        Raises Conflict when the name is taken.
        """
        try:
            info = await self._records.create_collection(name, pipeline.model.name, keep, precision)
        except BaseException:
            self._pipelines.release(pipeline)
            raise
        return self._place(info, pipeline)

    def require_renamable(self, collection: LoadedCollection, name: str) -> None:
        """Raise Conflict when another collection has the name."""
        if name != collection.name:
            self.require_name_free(name)

    async def change(
        self, collection: LoadedCollection, change: CollectionChange, pipeline: EncoderPipeline | None
    ) -> None:
        """Change all of it or nothing. `pipeline`, if given, will make its vectors, and is released in the
        end.

        Images are then embedded again, unless `pipeline` makes their vectors already; after a failure it
        tries again. Raises NotFound when the collection was dropped, Conflict when the name is taken, a job
        adds to it, or some rows could not be embedded again.
        """
        name, keep = change.name or collection.name, change.keep or collection.keep
        precision = change.precision or collection.precision
        try:
            collection.require_not_dropped()
            self.require_renamable(collection, name)
            missing = await self._require_embeddable(collection, precision, pipeline)
            with collection.renaming():
                await self._records.change_collection(collection.name, name, keep, precision)
                self._rename(collection, name)
        except BaseException:
            if pipeline is not None:
                self._pipelines.release(pipeline)
            raise
        collection.keep, collection.precision = keep, precision
        if pipeline is None:
            return
        if pipeline is collection.pipeline and collection.state != "failed":
            self._pipelines.release(pipeline)  # it was acquired once more
        else:
            await self._change_pipeline(collection, pipeline, missing)

    async def drop(self, collection: LoadedCollection) -> None:
        """Remove it, its rows, and their files unless another collection uses them. Raises NotFound."""
        collection.require_not_dropped()
        removed = await self._records.drop_collection(collection.name)
        del self._collections[collection.name]
        await collection.drop()
        if collection.pipeline is not None:
            self._pipelines.release(collection.pipeline)
        await self._files.remove(removed.released)

    async def _open(self, info: CollectionInfo) -> None:
        if info.model != self._pipelines.for_collections.model.name:
            self._place(info, None).state = "other_model"
            return
        try:
            pipeline = await self._pipelines.acquire(info.precision, at_start=True)
        except InvalidValue as error:
            log.warning("collection %s is not served: %s", info.name, error.message)
            collection = self._place(info, None)
            collection.state, collection.reason = "no_precision", error.message
            return
        collection, model = self._place(info, pipeline), pipeline.model
        missing = await self._records.missing(collection.name, model.identity)
        if missing:
            log.warning(
                "collection %s: %d of %d images have no vector of %s/%d in %s yet",
                *(
                    collection.name,
                    len(missing),
                    collection.n_images,
                    model.name,
                    model.version,
                    model.precision,
                ),
            )
        await self._fill(collection, pipeline, missing)

    def _place(self, info: CollectionInfo, pipeline: EncoderPipeline | None) -> LoadedCollection:
        collection = LoadedCollection(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            pipeline=pipeline,
            index=self._new_index(),
            metrics=self._metrics,
            state="ready",
            n_images=info.n_images,
            keep=info.keep,
            precision=info.precision,
        )
        self._collections[collection.name] = collection
        collection.report_metrics()
        return collection

    def _rename(self, collection: LoadedCollection, name: str) -> None:
        self._metrics.set_collection(collection.name, None)
        del self._collections[collection.name]
        collection.rename(name)
        self._collections[name] = collection
        collection.report_metrics()

    async def _require_embeddable(
        self, collection: LoadedCollection, precision: str, pipeline: EncoderPipeline | None
    ) -> dict[int, bool]:
        """Keys of rows without a vector by `pipeline`. Raises Conflict unless all their images are kept."""
        if pipeline is None:
            return {}
        collection.require_model()
        missing = await self._records.missing(collection.name, pipeline.model.identity)
        n_unkept = sum(not kept for kept in missing.values())
        if n_unkept and pipeline is not collection.pipeline:
            raise Conflict(
                f"collection {collection.name!r} cannot take precision {precision!r}: {n_unkept} of "
                f"{collection.n_images} rows keep no image that could be embedded again"
            )
        return missing

    async def _change_pipeline(
        self, collection: LoadedCollection, pipeline: EncoderPipeline, missing: dict[int, bool]
    ) -> None:
        """Take another pipeline. Searches wait until all is embedded. After a failure the next start repeats
        it.
        """
        left, old_index = collection.pipeline, collection.index
        collection.pipeline, collection.index, collection.state, collection.reason = (
            pipeline,
            self._new_index(),
            "embedding",
            "",
        )
        collection.unindexed, collection.without_image = set(missing), set()
        try:
            await self._fill(collection, pipeline, missing)
        except Exception as error:
            collection.fail(str(error) if isinstance(error, DiptychError) else type(error).__name__)
            raise
        finally:
            if left is not None:
                self._pipelines.release(left)
            await old_index.close()

    async def _fill(
        self, collection: LoadedCollection, pipeline: EncoderPipeline, missing: dict[int, bool]
    ) -> None:
        """Put what is embedded into the index, and start to embed the images that are `missing`."""
        collection.unindexed = set(missing)
        collection.without_image = {key for key, kept in missing.items() if not kept}
        async for keys, rows, damaged in self._records.embeddings(collection.name, pipeline.model.identity):
            await collection.fill(keys, rows)
            for key in damaged:
                log.warning("collection %s: the vector of row %d is damaged", collection.name, key)
            collection.unindexed.update(damaged)
        collection.finish_embedding()
        if collection.unindexed - collection.without_image:
            collection.state = "embedding"
            self._background.start(
                self._reembedder.run(collection, pipeline, collection.index),
                f"embedding collection {collection.name}",
            )
