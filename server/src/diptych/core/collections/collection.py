"""One collection in memory: its index, its counts and its state."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from diptych.core.collections.ports import VectorIndex
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.ports import Metrics
from diptych.core.types import SERVER, CollectionInfo, CollectionState, Embeddings, Keep, NewRow
from diptych.errors import Conflict, NotFound, NotReady

Found = TypeVar("Found")


class PipelineChanged(Exception):
    """The collection has taken another precision since these rows were embedded: nothing was stored."""


@dataclass(eq=False)
class LoadedCollection:
    """A collection and its index, which holds vectors made by `pipeline` only.

    Changed by one write at a time (see SerialWriteQueue).
    """

    name: str
    model: str
    created_at: str
    pipeline: EncoderPipeline | None  # makes its vectors; None while not served
    index: VectorIndex
    metrics: Metrics
    state: CollectionState
    n_images: int
    keep: Keep = "original"
    precision: str = SERVER
    unindexed: set[int] = field(default_factory=set)  # keys that the index lacks
    without_image: set[int] = field(default_factory=set)  # unindexed keys without an image to embed
    reason: str = ""  # why the state is "failed" or "no_precision"
    n_expected: int = 0  # while loading: images it will have; searches wait for them
    dropped: bool = False
    n_renames: int = 0
    _renamed: asyncio.Event | None = None  # while a rename is under way: set at its end

    def info(self) -> CollectionInfo:
        """What callers may know about the collection."""
        n_embedded = 0 if self.pipeline is None else self.n_images - len(self.unindexed)
        return CollectionInfo(
            name=self.name,
            model=self.model,
            n_images=self.n_images,
            created_at=self.created_at,
            keep=self.keep,
            precision=self.precision,
            state=self.state,
            n_embedded=n_embedded,
            reason=self._without_image_reason() if self.state == "other_version" else self.reason,
        )

    def require_served(self) -> EncoderPipeline:
        """Return the pipeline that makes its vectors. Raises Conflict if its model or precision is not
        served.
        """
        if self.pipeline is not None:
            return self.pipeline
        self.require_model()
        raise Conflict(f"collection {self.name!r} has vectors of precision {self.precision}: {self.reason}")

    def require_model(self) -> None:
        """Raise Conflict if the collection belongs to a model that this server does not serve."""
        if self.state == "other_model":
            raise Conflict(
                f"collection {self.name!r} belongs to model {self.model!r}, which is not served here"
            )

    def require_searchable(self) -> None:
        """Raise unless a search would see every image.

        Raises Conflict as `require_served`, and if there are rows without an image, whose vectors are of
        another version: waiting would not help. Raises NotReady while images are loaded or embedded, or after
        that ended early.
        """
        self.require_served()
        if self.state == "other_version":
            raise Conflict(f"collection {self.name!r} cannot be searched: {self._without_image_reason()}")
        if self.state == "embedding":
            info = self.info()
            raise NotReady(
                f"collection {self.name!r} is being embedded for this model version: "
                f"{info.n_embedded} of {info.n_images} images done"
            )
        if self.state == "failed":
            raise NotReady(
                f"collection {self.name!r} could not be embedded for this model version: {self.reason}. "
                f"{self._retry_hint()}"
            )
        if self.n_images < self.n_expected:
            raise NotReady(
                f"collection {self.name!r} is being loaded: {self.n_images} of {self.n_expected} images done"
            )

    def require_embedded(self) -> EncoderPipeline:
        """Return its pipeline, once every image was tried. Until then it is unknown which cannot be found.

        Raises Conflict as `require_served`; NotReady while images are embedded, or after that ended early.
        """
        pipeline = self.require_served()
        if self.state == "embedding":
            raise NotReady(
                f"collection {self.name!r} is being embedded: which images cannot be found is not known yet"
            )
        if self.state == "failed":
            raise NotReady(
                f"collection {self.name!r} was not embedded completely ({self.reason}): which images "
                f"cannot be found is not known yet. {self._retry_hint()}"
            )
        return pipeline

    def has_index(self, index: VectorIndex) -> bool:
        """Whether the collection exists and still has this index: each change of precision gives it a new
        one.

        Comparing pipelines would not do: after a change there and back the pipeline is the same again.
        """
        return not self.dropped and self.index is index

    def require_pipeline(self, pipeline: EncoderPipeline | None) -> None:
        """Raise NotReady if a query was made by `pipeline` and the collection has another pipeline by now."""
        if pipeline is not None and pipeline is not self.pipeline:
            raise NotReady(f"collection {self.name!r} has just taken another precision: ask again")

    def require_rows_of_pipeline(self, rows: Sequence[NewRow]) -> str:
        """Return the identity of its pipeline. Raises PipelineChanged unless that pipeline made all rows."""
        identity = "" if self.pipeline is None else self.pipeline.model.identity
        if any(row.pipeline_identity != identity for row in rows):
            raise PipelineChanged
        return identity

    def require_not_dropped(self) -> None:
        """Raise NotFound if the collection was dropped since it was looked up."""
        if self.dropped:
            raise NotFound(f"collection {self.name!r} was dropped")

    @contextmanager
    def renaming(self) -> Iterator[None]:
        """Wrap a rename in the store; readers wait until the new name is set here, too."""
        self._renamed = renamed = asyncio.Event()
        try:
            yield
        finally:
            self._renamed = None
            renamed.set()

    def rename(self, name: str) -> None:
        """Set the name that the store uses now."""
        if name != self.name:
            self.name, self.n_renames = name, self.n_renames + 1

    async def read(self, ask: Callable[[str], Awaitable[Found]]) -> Found:
        """Return what `ask` reads from the store for this collection, whatever its name is at that moment.

        The store may have renamed it already, before this object was, and may even have given the old name to
        another collection since. Raises NotFound once it is dropped, and what `ask` raises.
        """
        while True:
            self.require_not_dropped()
            n_renames = self.n_renames
            try:
                found = await ask(self.name)
            except NotFound:
                if self._renamed is not None:
                    await self._renamed.wait()
                self.require_not_dropped()
                if n_renames == self.n_renames:
                    raise
                continue
            self.require_not_dropped()
            if n_renames == self.n_renames:
                return found

    async def fill(self, keys: Sequence[int], rows: Embeddings) -> None:
        """Put embeddings (N, D) of images that are counted already into the index."""
        await self.index.apply((), keys, rows)
        self._mark_indexed(keys)

    async def change(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take images `removed` out and put `keys` with their embeddings (N, D) in, as one change.

        The store has changed already, so the images are counted even if the index refuses them: the keys are
        then unindexed, and adding their images again repairs that.
        """
        try:
            if self.pipeline is not None:
                await self.index.apply(removed, keys, rows)
        except Exception:
            self.unindexed.update(keys)
            raise
        finally:
            self._mark_indexed(removed)
            self.n_images += len(keys) - len(removed)
            self.report_metrics()

    def finish_embedding(self) -> None:
        """Record that everything was tried: "ready", unless there are rows without an image, whose vectors
        are of another version.
        """
        self.state = "other_version" if self.without_image else "ready"

    def fail(self, reason: str) -> None:
        """Record that embedding again has ended early; `reason` is safe to show."""
        self.state, self.reason = "failed", reason

    async def drop(self) -> None:
        """Close the index; nothing is written to this collection any more."""
        self.dropped = True
        self.report_metrics()
        await self.index.close()

    def _mark_indexed(self, keys: Sequence[int]) -> None:
        """Record that these keys are in the index, or gone."""
        self.unindexed.difference_update(keys)
        self.without_image.difference_update(keys)
        if self.state == "other_version":
            self.finish_embedding()

    def _without_image_reason(self) -> str:
        return (
            f"{len(self.without_image)} of {self.n_images} rows keep no image and were made by another "
            "version or precision. Serve that again, or add them again, or delete them"
        )

    def _retry_hint(self) -> str:
        return f"To try again, set its precision to {self.precision!r}, or start the server again"

    def report_metrics(self) -> None:
        """Report the size and the recall."""
        self.metrics.set_collection(self.name, None if self.dropped else self.n_images, self.index.recall)
