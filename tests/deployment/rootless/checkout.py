"""A user's checkout, as far as Compose mounts it: the default model, and empty data folders."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from deployment.tools import ROOT
from diptych.bundle.repository import ModelRepository

USER = 10001  # what the images have; any would do
MODEL = "pictograms"
RUN = "proof"
RECIPE = "mine.toml"


@dataclass(frozen=True)
class Checkout:
    """Its folders; all belongs to USER."""

    path: Path

    @property
    def model_repo(self) -> Path:
        """Where the server reads and training publishes."""
        return self.path / "model_repo"

    @property
    def training(self) -> Path:
        """Recipes of one's own, downloads, data sets and runs."""
        return self.path / "data" / "training"

    @property
    def run_folder(self) -> Path:
        """Of the run that is trained."""
        return self.training / "runs" / RUN

    @property
    def variables(self) -> dict[str, str]:
        """What the user puts into `.env`."""
        return {
            "UID": str(USER),
            "GID": str(USER),
            "DIPTYCH_MODEL": MODEL,
            "DIPTYCH_RUN": RUN,
            "DIPTYCH_RECIPE": f"/srv/cache/{RECIPE}",
        }

    def versions(self) -> list[int]:
        """Of the model, those that are whole."""
        return ModelRepository(self.model_repo).versions(MODEL)


def make_checkout(path: Path, recipe: Path) -> Checkout:
    """A new one, but for the data set and its downloads where an earlier one left them."""
    checkout = Checkout(path)
    for old in (checkout.model_repo, path / "data" / "server", checkout.training / "runs"):
        shutil.rmtree(old, ignore_errors=True)
    for log in path.glob("*.log"):  # what an earlier server or training said would be taken for this one's
        log.unlink()
    (path / "data" / "server").mkdir(parents=True)
    checkout.training.mkdir(exist_ok=True)
    shutil.copytree(ROOT / "model_repo" / MODEL, checkout.model_repo / MODEL)
    shutil.copyfile(recipe, checkout.training / RECIPE)
    for found in (checkout.model_repo, path / "data"):
        for folder, _, files in os.walk(found):
            for name in ("", *files):
                os.chown(Path(folder) / name, USER, USER, follow_symlinks=False)
    return checkout
