"""Where downloads and built data sets are kept: outside any work tree. Knows nothing of what is put there."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$DIPTYCH_CACHE`, or `~/.cache/diptych`; not created here."""
    chosen = os.environ.get("DIPTYCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "diptych"


def runs_dir() -> Path:
    """Where runs are kept unless another folder is named."""
    return cache_dir() / "runs"


def run_dir(given: str) -> Path:
    """A run's folder: the path given, or else the run of that name in `runs_dir`."""
    path, named = Path(given).expanduser(), runs_dir() / given
    return named if named.is_dir() and not path.is_dir() else path
