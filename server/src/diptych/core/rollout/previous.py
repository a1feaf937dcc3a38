"""The version that served before: its vectors follow every change, so that a rollback is immediate."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.reembed import Pace
from diptych.core.rollout.run import RolloutParts
from diptych.core.rollout.types import PreviousVersion
from diptych.core.types import VersionRef
from diptych.errors import DiptychError, NotReady

log = logging.getLogger(__name__)

CATCH_UP_S = 2.0  # between looks whether it lacks images


class KeptVersion:
    """Keeps the vectors of `ref`, the version that served before; None if there is none."""

    def __init__(self, parts: RolloutParts) -> None:
        self._parts = parts
        self.ref: VersionRef | None = None

    async def keep_up(self, pace: Pace, is_rolling: Callable[[], bool]) -> None:
        """Open it, and embed for it what was added since, in spare time and beside no rollout."""
        with suppress(DiptychError):
            await self._open()
        while True:
            await asyncio.sleep(CATCH_UP_S)
            for collection in self._parts.collections.loaded():
                vectors = collection.previous
                if vectors is None or not vectors.pending or is_rolling():
                    continue
                try:
                    await self._parts.collections.embed_pending(collection, vectors, pace)
                except NotReady:
                    raise
                except DiptychError as error:
                    log.warning("the version that served before cannot catch up: %s", error)

    async def status(self) -> PreviousVersion | None:
        """How far it has come, and what it takes."""
        ref = self.ref
        if ref is None:
            return None
        bundle_bytes = await asyncio.to_thread(self._parts.bundles.kept_bytes, ref)
        kept = self._kept(ref)
        n_bytes = sum(
            4 * vectors.model.embed_dim * (collection.n_images - len(vectors.unindexed))
            for collection, vectors in kept
        )
        return PreviousVersion(
            ref,
            n_lagging=sum(len(vectors.pending) for _, vectors in kept),
            memory_bytes=n_bytes,
            weight_bytes=sum(one.weight_bytes for one in self._parts.versions.loaded() if one.ref == ref),
            vector_bytes=n_bytes,
            bundle_bytes=bundle_bytes,
        )

    async def _open(self) -> None:
        if self.ref is None:
            return
        name = self._parts.active.now.version.ref.name
        version = await self._parts.versions.acquire(self.ref)
        try:
            for collection in self._parts.collections.loaded():
                if collection.model == name and collection.previous is None:
                    with suppress(DiptychError):
                        await self._parts.collections.open_previous(collection, version, collection.precision)
        finally:
            self._parts.versions.release(version)

    def _kept(self, ref: VersionRef) -> list[tuple[LoadedCollection, IndexedVectors]]:
        return [
            (collection, collection.previous)
            for collection in self._parts.collections.loaded()
            if collection.previous is not None and collection.previous.version.ref == ref
        ]
