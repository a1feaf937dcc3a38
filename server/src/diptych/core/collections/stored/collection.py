"""One collection: its name, its counts and its state. Its vectors are in the snapshots of the server."""

from collections.abc import Sequence
from dataclasses import dataclass

from diptych.core.ports import Metrics
from diptych.core.serving.snapshot import Pair, Serving, Snapshot
from diptych.core.types import (
    EXACT,
    CollectionInfo,
    CollectionState,
    Embeddings,
    Keep,
    NewRow,
    TextFields,
    VersionRef,
)
from diptych.errors import Conflict, NotFound, NotReady


class PairChanged(Exception):
    """The collection has moved to another identity since these rows were embedded: nothing was stored."""


@dataclass(eq=False)
class Collection:
    """The current state of a collection, whichever snapshot a request holds. Only writes change it.

    `stored` is the version that made its vectors, as the data folder says, of a collection without a pair.
    """

    number: int
    name: str
    model: str
    created_at: str
    serving: Serving
    metrics: Metrics
    n_images: int
    as_of: int = 0  # the last write of another server that `n_images` counts
    keep: Keep = "original"
    text_fields: TextFields = None
    stored: VersionRef | None = None
    stays: str = ""  # why it does not follow the version that the server serves
    reason: str = ""  # why it is not served, or why embedding ended early
    n_expected: int = 0  # while loading: images it will have; searches wait for them
    read_only: bool = False  # searches see what is there: nothing will be embedded or indexed
    dropped: bool = False

    @property
    def pair(self) -> Pair | None:
        """Its vectors that answer now; None if it is not served."""
        return self.serving.current.pairs.get(self.number)

    def n_bytes(self, pair: Pair) -> int:
        """The bytes of these vectors as float32 numbers."""
        return 4 * pair.model.embed_dim * (self.n_images - len(pair.index.unindexed))

    @property
    def state(self) -> CollectionState:
        """The state that callers see: see CollectionInfo."""
        return self._state(self.pair)

    def info(self) -> CollectionInfo:
        """The description of the collection for callers."""
        pair, previous = self.pair, self.serving.previous
        kept = None if previous is None else previous.pairs.get(self.number)
        return CollectionInfo(
            number=self.number,
            name=self.name,
            model=self.model if pair is None else pair.model.name,
            n_images=self.n_images,
            created_at=self.created_at,
            keep=self.keep,
            text_fields=self.text_fields,
            state=self._state(pair),
            n_embedded=0 if pair is None else self.n_images - len(pair.index.unindexed),
            reason="" if self._state(pair) == "ready" else self.reason,
            stays=self.stays,
            identity=None if pair is None else pair.identity,
            previous_identity=None if kept is None else kept.identity,
        )

    def require_served(self, snapshot: Snapshot | None = None) -> Pair:
        """Its vectors in the snapshot, or those of now. Raises Conflict if it is not served."""
        pair = (snapshot or self.serving.current).pairs.get(self.number)
        if pair is None:
            self.require_not_dropped()
            raise Conflict(
                f"collection {self.name!r} has vectors of model {self.model!r} and no images that could be "
                f"embedded again, so that it can be read and deleted from only: {self.reason}"
            )
        return pair

    def require_searchable(self, snapshot: Snapshot) -> Pair:
        """Its vectors in the snapshot. Raises unless a search would see every image.

        Raises Conflict as `require_served`; NotReady while images are loaded or embedded.
        """
        pair = self.require_served(snapshot)
        if self._state(pair) == "embedding":
            raise NotReady(self._progress(pair))
        if self.n_images < self.n_expected:
            raise NotReady(
                f"collection {self.name!r} is being loaded: {self.n_images} of {self.n_expected} images done"
            )
        return pair

    def require_embedded(self) -> Pair:
        """Its vectors, once every image was tried. Until then it is unknown which cannot be found.

        Raises Conflict as `require_served`; NotReady while images are embedded.
        """
        pair = self.require_served()
        if pair.index.pending:
            raise NotReady(f"{self._progress(pair)}; which images cannot be found is not known yet")
        return pair

    def require_identity_of(self, rows: Sequence[NewRow]) -> str:
        """Return the identity of added vectors. Raises PairChanged unless all rows have it."""
        identity = "" if self.pair is None else self.pair.identity
        if any(row.identity != identity for row in rows):
            raise PairChanged
        return identity

    def require_not_dropped(self) -> None:
        """Raise NotFound if the collection was dropped since it was looked up."""
        if self.dropped:
            raise NotFound(f"collection {self.name!r} was dropped")

    async def change(
        self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings, change: int
    ) -> None:
        """Take images `removed` out and put `keys` with their embeddings (N, D) in, as one change.

        `change` is its number in the store, which has changed already: the images are counted even if the
        index refuses them. The indexes of other identities get the vectors of added images later.
        """
        if keys and removed:
            for index in self.serving.indexes(self.number):
                index.replaced_at = change  # before any index has it
        own = None if self.pair is None else self.pair.index
        try:
            if own is not None:
                await own.change(removed, keys, rows)
        finally:
            for index in self.serving.indexes(self.number):
                if index is not own:
                    await index.follow(removed, keys)
            self.n_images += len(keys) - len(removed)
            self.report_metrics()

    async def lose(self, keys: Sequence[int]) -> None:
        """Take images whose files are missing out of all indexes; the store has no vectors of them."""
        for index in self.serving.indexes(self.number):
            await index.lose(keys)
        self.report_metrics()

    def report_metrics(self) -> None:
        """Report the size and the recall."""
        recall = EXACT if self.pair is None else self.pair.index.vectors.recall
        self.metrics.set_collection(self.name, None if self.dropped else self.n_images, recall)

    def _state(self, pair: Pair | None) -> CollectionState:
        if pair is None:
            return "unserved"
        return "embedding" if pair.index.pending and not self.read_only else "ready"

    def _progress(self, pair: Pair) -> str:
        because = f" ({self.reason})" if self.reason else ""
        n_embedded = self.n_images - len(pair.index.unindexed)
        return (
            f"collection {self.name!r} is being embedded for this model version: "
            f"{n_embedded} of {self.n_images} images done{because}"
        )
