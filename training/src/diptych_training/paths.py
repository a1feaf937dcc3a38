"""Default locations of downloads, data sets, runs and models.

Each location has an environment variable. Command-line flags use it as their default and override it.
"""

import os
from importlib.util import find_spec
from pathlib import Path

CACHE = "$DIPTYCH_CACHE"  # begins paths of recipes
CONFIGS = Path(__file__).parent / "configs"
RUN_HELP = "name of the run in --runs-dir, or its folder as a path with a separator, such as ./mine"


def chosen(variable: str, otherwise: Path) -> Path:
    """Return the folder that the environment variable names, or `otherwise`; the folder is not created."""
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else otherwise


def cache_dir() -> Path:
    """`$DIPTYCH_CACHE`, or `~/.cache/diptych`: outside any work tree."""
    return chosen("DIPTYCH_CACHE", Path.home() / ".cache" / "diptych")


def wordnet_dir() -> Path:
    """Where `diptych-train data wordnet` writes by default: `wordnet/` in the cache."""
    return cache_dir() / "wordnet"


def expanded(given: str) -> Path:
    """Return a path of a recipe: `~` is the home folder, and a leading `$DIPTYCH_CACHE` is `cache_dir()`,
    whether or not the variable is set.
    """
    rest = given.removeprefix(CACHE)
    if rest != given and rest[:1] in ("", "/"):
        return cache_dir() / rest.lstrip("/")
    return Path(given).expanduser()


def runs_dir() -> Path:
    """`$DIPTYCH_RUNS_DIR`, or `runs/` in the cache."""
    return chosen("DIPTYCH_RUNS_DIR", cache_dir() / "runs")


def data_dir() -> Path:
    """The data set for training and evaluation: `$DIPTYCH_DATA`, or `pictograms/` in the cache."""
    return chosen("DIPTYCH_DATA", cache_dir() / "pictograms")


def model_repo() -> Path:
    """`$DIPTYCH_MODEL_REPO`, which servers read too, or `model_repo/` in the current folder."""
    return chosen("DIPTYCH_MODEL_REPO", Path("model_repo"))


def if_missing(repository: Path) -> str:
    """The hint that an error message adds if there is no model repository; empty if there is one."""
    return (
        ""
        if repository.is_dir()
        else (f"; {repository} does not exist: --model-repo or DIPTYCH_MODEL_REPO names the model repository")
    )


def package_folder(name: str) -> Path | None:
    """The folder of an installed Python package, by the name that it is imported or installed by; None if
    there is none. Its code does not run.
    """
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    folders = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(folders))) if folders else None


def is_path(given: str) -> bool:
    """Whether `given` is a path, such as ./digits: names contain no separator and are not . or .."""
    return given in (".", "..") or any(one in given for one in (os.sep, os.altsep) if one)


def run_dir(given: str, runs: Path) -> Path:
    """Return a run's folder: the path given, or the run of that name in `runs`, whatever the current folder
    contains.
    """
    return Path(given).expanduser() if is_path(given) else runs / given


def recipe_file(given: str) -> Path:
    """Return a recipe file: the shipped recipe of that name, or else the path given."""
    shipped = CONFIGS / f"{given}.toml"
    return shipped if shipped.is_file() else Path(given)


def shipped_recipes() -> list[str]:
    """The names of the shipped recipes."""
    files = (file for pattern in ("*.toml", "series/*.toml") for file in CONFIGS.glob(pattern))
    return sorted(file.relative_to(CONFIGS).with_suffix("").as_posix() for file in files)
