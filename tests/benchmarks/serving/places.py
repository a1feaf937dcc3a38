"""Where the benchmark keeps what it makes: model, photos, environments and results. Makes nothing itself."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def cache() -> Path:
    """`~/.cache/diptych/bench`, or the same below XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "diptych" / "bench"


def in_cache(*names: str) -> Path:
    """A path in the cache whose folder exists."""
    path = cache().joinpath(*names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
