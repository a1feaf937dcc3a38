"""Where downloads, data sets, runs and models are kept. Knows nothing of what is put there.

Each place is a variable; the flags of the commands take it as their default, and win over it.
"""

import os
from pathlib import Path

CONFIGS = Path(__file__).parent / "configs"
RUN_HELP = "name of the run in --runs-dir, or its folder as a path with a separator, such as ./mine"


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


def if_missing(repository: Path) -> str:
    """What an error adds where there is no model repository at all."""
    return (
        ""
        if repository.is_dir()
        else (f"; {repository} does not exist: --model-repo or DIPTYCH_MODEL_REPO names the model repository")
    )


def is_path(given: str) -> bool:
    """Whether this is a path, as in ./digits: a name has no separator and is not . or ..."""
    return given in (".", "..") or any(one in given for one in (os.sep, os.altsep) if one)


def run_dir(given: str, runs: Path) -> Path:
    """A run's folder: the run of that name in `runs`, or what a path names, whatever lies here."""
    return Path(given).expanduser() if is_path(given) else runs / given


def recipe_file(given: str) -> Path:
    """A recipe: a shipped one of that name, or else the path given."""
    shipped = CONFIGS / f"{given}.toml"
    return shipped if shipped.is_file() else Path(given)


def shipped_recipes() -> list[str]:
    """Their names."""
    return sorted(file.stem for file in CONFIGS.glob("*.toml"))
