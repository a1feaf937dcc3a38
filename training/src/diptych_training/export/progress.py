"""Show a long command's progress on the terminal, and let Ctrl-C end it; knows nothing of what it does."""

from collections.abc import Iterator
from contextlib import contextmanager

from diptych_training.export.interrupts import noticing_interrupts
from diptych_training.export.stages import Watcher
from diptych_training.progress import progress_bar


@contextmanager
def watched(n_images: int, name: str) -> Iterator[Watcher]:
    """A bar over `n_images` embeddings; finished stages are said above it."""
    with noticing_interrupts() as check, progress_bar(total=n_images, unit="image", desc=name) as bar:

        def advance(n_done: int) -> None:
            check()
            bar.update(n_done)

        yield Watcher(say=bar.write, advance=advance, check=check)
