"""Load a folder of pictures into the collection `gallery` once the server is ready.

The folder has an `items.jsonl` next to its pictures, with a line for each: {"file", "id", "metadata"}.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from diptych.core.collections.service import Collections
from diptych.core.services import Services
from diptych.core.types import AddOutcome, NewImage
from diptych.errors import ConfigError, Conflict, NotReady, Overloaded, StoreError, TooLarge

LOG = logging.getLogger("diptych.gallery")
COLLECTION = "gallery"
ITEMS_FILE = "items.jsonl"
BATCH = 16  # small, so that requests find room in the queue
LOG_EVERY = 8 * BATCH
RETRY_S = 10.0


class GalleryItem(BaseModel):
    """One line of items.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    id: str
    metadata: dict[str, Any] = {}


class Gallery:
    """The pictures of one folder. Reads its list at once, so that a wrong folder stops the start."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError that names file and line."""
        self._folder = folder
        self._items = _read_items(folder / ITEMS_FILE)

    @property
    def sample(self) -> Path | None:
        """The first picture, if there is one."""
        return self._folder / self._items[0].file if self._items else None

    async def fill(self, services: Services) -> None:
        """Add new pictures and replace changed ones. Pictures that are there already cost only a lookup.

        Until all pictures are there for the first time, searches answer that the gallery is being loaded.
        """
        await services.collections.ensure(COLLECTION)
        with services.collections.loading(COLLECTION, len(self._items)):
            counts = await self._until_all_are_added(services)
        LOG.info("the gallery is loaded", extra={"fields": {"images": counts.total(), **counts}})

    async def _until_all_are_added(self, services: Services) -> Counter[str]:
        """Add all pictures. Retries after errors of the data folder and while the collection moves to
        another model: a partial gallery is not served.
        """
        while True:
            try:
                return await self._add_all(services)
            except (StoreError, Conflict, NotReady) as error:
                LOG.warning("the gallery is not loaded, the next try is in %g s: %s", RETRY_S, error)
                await asyncio.sleep(RETRY_S)

    async def _add_all(self, services: Services) -> Counter[str]:
        counts: Counter[str] = Counter()
        batch = min(BATCH, services.serving.current.version.embedder.max_images)
        for start in range(0, len(self._items), batch):
            outcomes = await self._add(services.collections, self._items[start : start + batch])
            counts.update(outcome.status for outcome in outcomes)
            done = counts.total()
            if done % LOG_EVERY < batch and done < len(self._items) and counts["unchanged"] < done:
                LOG.info("loading the gallery: %d of %d images", done, len(self._items))
        return counts

    async def _add(self, collections: Collections, items: Sequence[GalleryItem]) -> list[AddOutcome]:
        readable = await asyncio.to_thread(self._read, items)
        if not readable:
            return []
        items, images = [item for item, _ in readable], [image for _, image in readable]
        while True:
            try:
                outcomes = (await collections.add_many(COLLECTION, images, replace=True)).outcomes
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
                continue
            except TooLarge as error:  # together larger than the queue
                if len(items) > 1:
                    return [outcome for item in items for outcome in await self._add(collections, [item])]
                outcomes = [AddOutcome(0, items[0].id, "failed", error)]
            for outcome in outcomes:
                if isinstance(outcome.error, StoreError):
                    raise outcome.error
                if outcome.error is not None:
                    LOG.warning("gallery image %s: %s", items[outcome.index].file, outcome.error)
            return outcomes

    def _read(self, items: Sequence[GalleryItem]) -> list[tuple[GalleryItem, NewImage]]:
        """Return the pictures whose file can be read. Logs and skips files that have gone since the start."""
        found = []
        for item in items:
            try:
                payload = (self._folder / item.file).read_bytes()
            except OSError as error:
                LOG.warning("gallery image %s cannot be read: %s", item.file, error.strerror)
            else:
                found.append((item, NewImage(payload, item.id, item.metadata)))
        return found


def _read_items(file: Path) -> list[GalleryItem]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"the gallery has no readable {file}: {error.strerror}") from error
    return [_read_item(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _read_item(file: Path, number: int, line: str) -> GalleryItem:
    try:
        item = GalleryItem.model_validate(json.loads(line))
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"{file}, line {number}: {error}") from error
    if not (file.parent / item.file).is_file() or Path(item.file).name != item.file:
        raise ConfigError(f"{file}, line {number}: there is no file {item.file!r} in its folder")
    return item
