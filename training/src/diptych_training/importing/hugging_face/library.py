"""Type aliases for objects of transformers, and a way to silence its logs.

The aliases are `Any`: the attributes of these objects are created at run time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from transformers.utils import logging

DualEncoder: TypeAlias = Any  # a `PreTrainedModel` with both towers and their two `get_..._features`
ImageProcessor: TypeAlias = Any  # a `PilBackend`: each setting is an attribute
ModelConfig: TypeAlias = Any  # a `PreTrainedConfig`: each key is an attribute
LibraryTokenizer: TypeAlias = Any  # a `PreTrainedTokenizerBase`


library_log: Any = logging  # untyped


@contextmanager
def quiet_library() -> Iterator[None]:
    """Silence the library's logs and progress bars; our code raises an error for what matters in them."""
    verbosity, bars = library_log.get_verbosity(), library_log.is_progress_bar_enabled()
    library_log.set_verbosity_error()
    library_log.disable_progress_bar()
    try:
        yield
    finally:
        library_log.set_verbosity(verbosity)
        if bars:
            library_log.enable_progress_bar()
