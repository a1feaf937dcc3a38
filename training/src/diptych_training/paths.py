"""Where downloads and built data sets are kept: outside any work tree. Knows nothing of what is put there."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$DIPTYCH_CACHE`, or `~/.cache/diptych`; not created here."""
    chosen = os.environ.get("DIPTYCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "diptych"
