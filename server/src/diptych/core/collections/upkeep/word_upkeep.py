"""Index the words of images that were there before, in the background."""

import asyncio
import logging
import time

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import WordRows
from diptych.core.collections.upkeep.reembed import Pace
from diptych.errors import DiptychError, NotFound

log = logging.getLogger(__name__)

RETRY_S = 60.0  # after the disk failed


async def index_words(words: WordRows, collection: Collection, pace: Pace) -> None:
    """Index all rows of a collection that are not indexed yet, a few at a time.

    Returns early once the collection is dropped. After an error of the store it is tried again.
    """
    n_done = 0
    while True:
        began = time.monotonic()
        try:
            n_rows = await words.index_next(collection.number)
        except NotFound:
            return
        except DiptychError as error:
            log.warning(
                "words of collection %s cannot be indexed, it is tried again: %s", collection.name, error
            )
            await asyncio.sleep(RETRY_S)
            continue
        if n_rows and not n_done:
            log.info("collection %s: words of images are indexed", collection.name)
        n_done += n_rows
        if not n_rows:
            break
        await pace.pause(time.monotonic() - began, 0.0)
    if n_done:
        log.info("collection %s: words of %d images were indexed", collection.name, n_done)
