"""The folder of a refresh with its ledger: what was requested, and which stages are done.

The ledger is one file, `refresh.json`. A stage whose result is there is passed over, so that an interrupted
command continues.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import Field, ValidationError

from diptych_training.errors import TrainingConfigError
from diptych_training.files import write_text
from diptych_training.refresh.evaluation.results import EVALUATION_FILE
from diptych_training.refresh.evaluation.trials import FOLDS_FILE
from diptych_training.refresh.pairs.own import OWN
from diptych_training.refresh.report.report import PAGE_FILE
from diptych_training.run_folder import RunFolder
from diptych_training.schema import Frozen

LEDGER_FILE, RECIPE_FILE, CHANGES_FILE, EXPORT_LOG = (
    "refresh.json",
    "recipe.toml",
    "changes.json",
    "export.log",
)


class Request(Frozen):
    """The inputs that decide the weights: the model, a digest of the pairs, and the user's own recipe.

    `candidates`: a digest of the label set that the pairs are judged by, if there is one.
    """

    model: str
    pairs: str
    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    candidates: str | None = None


class Published(Frozen):
    """The version that a refresh became, and the weight of its mix."""

    name: str
    version: int
    alpha: float


class Ledger(Frozen):
    """The request, and what the stages record.

    `id` is random: the version that the training becomes is recognised by it. `trained_recipe` is the text of
    the recipe with which the training began, `published` the version if the refresh is finished.
    """

    id: str = Field(default_factory=lambda: uuid4().hex)
    request: Request
    trained_recipe: str | None = None
    published: Published | None = None


@dataclass(frozen=True)
class RefreshFolder:
    """The files of one refresh, by purpose. `name` is that of its run: the model's name and a number."""

    path: Path
    name: str

    @property
    def number(self) -> int:
        """1 for the first refresh of the model's name, 2 for the next."""
        return int(self.name.rpartition("-")[2])

    @property
    def pairs(self) -> Path:
        """The report on the pairs, the contact sheet, and the packed pairs."""
        return self.path / "pairs"

    @property
    def own(self) -> Path:
        """The packed data set of the user's pairs."""
        return self.pairs / OWN

    @property
    def recipe_file(self) -> Path:
        """The recipe of the run, which a person may edit; the training then begins again."""
        return self.path / RECIPE_FILE

    @property
    def run(self) -> RunFolder:
        """The training run."""
        return RunFolder(self.path / self.name)

    def mixed_run(self, alpha: float) -> RunFolder:
        """The run whose weights are the mix of this alpha."""
        return RunFolder(self.path / f"{self.name}-{alpha:g}")

    def fold_run(self, fold: int, rate: float) -> RunFolder:
        """The training run without a fold at this rate."""
        return RunFolder(self.path / f"{self.name}-fold-{fold}-{rate:g}")

    @property
    def folds_file(self) -> Path:
        """The scores of the models that learned without a fold."""
        return self.path / FOLDS_FILE

    @property
    def evaluation_file(self) -> Path:
        """The measured mixes."""
        return self.path / EVALUATION_FILE

    @property
    def changes_file(self) -> Path:
        """The searches and pictures that changed most."""
        return self.path / CHANGES_FILE

    @property
    def page(self) -> Path:
        """The page on what was gained and lost."""
        return self.path / PAGE_FILE

    @property
    def export_log(self) -> Path:
        """The stages of the export, its parity table, and why a precision was left out."""
        return self.path / EXPORT_LOG

    @property
    def ledger(self) -> Ledger:
        """The recorded ledger. Raises TrainingConfigError if the file is gone or cannot be read."""
        found = self.find_ledger()
        if found is None:
            raise TrainingConfigError(
                f"{self.path / LEDGER_FILE} is missing: remove its folder to begin again"
            )
        return found

    def find_ledger(self) -> Ledger | None:
        """The recorded ledger, or None. Raises TrainingConfigError if the file cannot be read."""
        try:
            return Ledger.model_validate_json((self.path / LEDGER_FILE).read_bytes())
        except FileNotFoundError:
            return _ledger_of_three_files(self.path)
        except ValidationError as error:
            raise _unreadable(self.path / LEDGER_FILE) from error

    def record(self, ledger: Ledger, **changes: Any) -> None:
        """Write the ledger with these changes, atomically."""
        write_text(self.path / LEDGER_FILE, f"{ledger.model_copy(update=changes).model_dump_json()}\n")

    @property
    def is_recipe_edited(self) -> bool:
        """Whether the recipe is another one than that with which the training began."""
        begun_with = self.ledger.trained_recipe
        return begun_with is not None and begun_with != self.recipe_file.read_text(encoding="utf-8")

    def set_run_aside(self) -> Path:
        """Rename the training run, and drop what was made of it, so that the training begins again.

        The id changes: the version that the run became is not that of the next one.
        """
        number = 1 + len(list(self.path.glob(f"{self.name}-before-*")))
        kept = self.path / f"{self.name}-before-{number}"
        for pattern in (f"{self.name}-[01]*", f"{self.name}-fold-*"):
            for run in self.path.glob(pattern):
                shutil.rmtree(run)
        self.record(Ledger(request=self.ledger.request))
        if self.run.path.exists():
            self.run.path.rename(kept)
        return kept


def open_folder(root: Path, name: str, request: Request, *, again: bool = False) -> RefreshFolder:
    """The newest refresh of `name` with the same request, else a new one with the next number.

    With `again`, a finished refresh is not returned: a new one begins.
    """
    numbers = _numbers(root, name)
    for number in sorted(numbers, reverse=True):
        folder = RefreshFolder(numbers[number], f"{name}-{number}")
        ledger = folder.find_ledger()
        if ledger is not None and ledger.request == request:
            if again and ledger.published is not None:
                break
            return folder
    number = max(numbers, default=0) + 1
    new = RefreshFolder(root / f"{name}-{number}", f"{name}-{number}")
    new.record(Ledger(request=request))
    return new


def latest_ledger(root: Path, name: str) -> Ledger | None:
    """The ledger of the newest refresh of `name`; None if there is none."""
    numbers = _numbers(root, name)
    if not numbers:
        return None
    latest = max(numbers)
    return RefreshFolder(numbers[latest], f"{name}-{latest}").find_ledger()


def _numbers(root: Path, name: str) -> Mapping[int, Path]:
    folders = root.glob(f"{name}-*") if root.is_dir() else ()
    matches = ((re.fullmatch(r"-([1-9][0-9]*)", path.name[len(name) :]), path) for path in folders)
    return {int(match[1]): path for match, path in matches if match is not None}


def _ledger_of_three_files(path: Path) -> Ledger | None:
    """The ledger as releases before 0.2 wrote it, in up to three files; None if there are none."""
    request, recipe, published = (path / f for f in ("request.json", "trained-recipe.toml", "published.json"))
    if not request.is_file():
        return None
    try:
        begun = Ledger.model_validate_json(request.read_bytes())
        done = Published.model_validate_json(published.read_bytes()) if published.is_file() else None
    except ValidationError as error:
        raise _unreadable(request) from error
    text = recipe.read_text(encoding="utf-8") if recipe.is_file() else None
    return begun.model_copy(update={"trained_recipe": text, "published": done})


def _unreadable(file: Path) -> TrainingConfigError:
    return TrainingConfigError(f"{file} cannot be read: remove its folder to begin again")
