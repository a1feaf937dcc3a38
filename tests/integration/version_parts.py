"""What tests of rollouts share: which version makes the vectors, and an encoder that is held back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diptych.core.serving.versions import Versions
from integration.store_parts import Opened
from support.pictures import picture


async def version_of(opened: Opened, name: str = "default") -> tuple[str, int]:
    """The model and version that make its vectors."""
    vectors = (await opened.collections.stats(name)).vectors
    assert vectors is not None
    return vectors.name, vectors.version


async def require_found(opened: Opened, *colours: str) -> None:
    """Each colour is the best hit of its own picture, in the collection's own version."""
    for colour in colours:
        query = await opened.pair().version.embedder.embed_image(picture(colour))
        hits = await opened.search("default", query, k=9)
        assert hits[0].id == colour
        assert sorted(hit.id for hit in hits) == sorted(colours)
        stored = await opened.collections.images.embedding("default", colour)
        assert stored == pytest.approx(query, abs=1e-6)


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """Take a folder of the model repository away for the duration of the block."""
    elsewhere = folder.rename(folder.parent.parent / f"{folder.name}-elsewhere")
    try:
        yield
    finally:
        elsewhere.rename(folder)


@contextmanager
def counted_looks() -> Iterator[Callable[[], int]]:
    """Count the looks at the model repository that begin from now on. The third begins when two are over."""
    n_looks, read_calibrations = 0, Versions.read_calibrations

    async def counted(versions: Versions) -> None:
        nonlocal n_looks
        n_looks += 1
        await read_calibrations(versions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Versions, "read_calibrations", counted)
        yield lambda: n_looks


class Held:
    """Holds back the encoder of images, of all versions, until `go_on`."""

    def __init__(self, opened: Opened) -> None:
        self._go_on, self.entered = threading.Event(), threading.Event()
        opened.before_encode = self._hold

    def go_on(self) -> None:
        self._go_on.set()

    def _hold(self) -> None:
        self.entered.set()
        assert self._go_on.wait(10)
