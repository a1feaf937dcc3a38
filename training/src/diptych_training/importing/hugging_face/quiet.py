"""Keep transformers from talking while a checkpoint is read; knows nothing of checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging

library_log: Any = logging  # untyped


@contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the library's reports and progress bars: what matters in them is raised as an error by us."""
    verbosity, bars = library_log.get_verbosity(), library_log.is_progress_bar_enabled()
    library_log.set_verbosity_error()
    library_log.disable_progress_bar()
    try:
        yield
    finally:
        library_log.set_verbosity(verbosity)
        if bars:
            library_log.enable_progress_bar()
