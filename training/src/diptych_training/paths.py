"""Where downloads, data sets, runs and models are kept. Knows nothing of what is put there.

Each place is a variable; the flags of the commands take it as their default, and win over it.
"""

import os
from pathlib import Path


def chosen(variable: str, otherwise: Path) -> Path:
    """The folder that the variable names, if it names one; not created here."""
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else otherwise


def cache_dir() -> Path:
    """`$DIPTYCH_CACHE`, or `~/.cache/diptych`: outside any work tree."""
    return chosen("DIPTYCH_CACHE", Path.home() / ".cache" / "diptych")


def runs_dir() -> Path:
    """`$DIPTYCH_RUNS_DIR`, or `runs/` in the cache."""
    return chosen("DIPTYCH_RUNS_DIR", cache_dir() / "runs")


def data_dir() -> Path:
    """The data set that is trained and measured on: `$DIPTYCH_DATA`, or `pictograms/` in the cache."""
    return chosen("DIPTYCH_DATA", cache_dir() / "pictograms")


def model_repo() -> Path:
    """`$DIPTYCH_MODEL_REPO`, which servers read too, or `model_repo/` here."""
    return chosen("DIPTYCH_MODEL_REPO", Path("model_repo"))


def run_dir(given: str) -> Path:
    """A run's folder: the path given, or else the run of that name in `runs_dir`."""
    path, named = Path(given).expanduser(), runs_dir() / given
    return named if named.is_dir() and not path.is_dir() else path


def recipe_file(given: str) -> Path:
    """A recipe: a shipped one of that name, or else the path given."""
    shipped = Path(__file__).parent / "configs" / f"{given}.toml"
    return shipped if shipped.is_file() else Path(given)
