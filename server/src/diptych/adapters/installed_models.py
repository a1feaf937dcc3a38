"""Models that are installed as packages, such as `diptych-everyday`.

A package names itself in the entry point group `diptych.models`, under the name of its model. It holds the
folder `model_repo`, and may hold the folder `gallery`.
"""

from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

GROUP = "diptych.models"


@dataclass(frozen=True)
class InstalledModel:
    """A model repository, and a folder of sample pictures if the package has one."""

    model_repo: Path
    gallery: Path | None


def installed_model(name: str) -> InstalledModel | None:
    """The package of the model of this name; None if none is installed, or if its files are not there."""
    for package in entry_points(group=GROUP, name=name):
        try:
            folder = Path(str(files(package.module)))
        except ImportError:  # what is left of a package that was removed
            continue
        if (folder / "model_repo" / name).is_dir():
            gallery = folder / "gallery"
            return InstalledModel(folder / "model_repo", gallery if gallery.is_dir() else None)
    return None


def is_installed(model_repo: Path) -> bool:
    """Whether a model repository is that of an installed package."""
    found = (installed_model(package.name) for package in entry_points(group=GROUP))
    return model_repo in {one.model_repo for one in found if one is not None}
