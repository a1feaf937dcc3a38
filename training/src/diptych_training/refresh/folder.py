"""The folder of a refresh: what each stage leaves, so that an interrupted command continues."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError

from diptych_training.errors import TrainingConfigError
from diptych_training.files import write_text
from diptych_training.refresh.judge.results import JUDGED_FILE
from diptych_training.refresh.pairs.own import OWN
from diptych_training.refresh.report.write import PAGE_FILE
from diptych_training.run_folder import RunFolder
from diptych_training.schema import Frozen

REQUEST_FILE, PUBLISHED_FILE, RECIPE_FILE, CHANGES_FILE, EXPORT_LOG = (
    "request.json",
    "published.json",
    "recipe.toml",
    "changes.json",
    "export.log",
)

Stored = TypeVar("Stored", bound=Frozen)


class Request(Frozen):
    """What decides the weights: the model, the pairs (a digest of them), and the recipe of the user's own."""

    model: str
    pairs: str
    recipe: str | None = None
    overrides: tuple[str, ...] = ()


class Begun(Frozen):
    """The request of a refresh, and a random id, by which the version that it became is recognised."""

    id: str
    request: Request


class Published(Frozen):
    """The version that a refresh became, and the weight of its mix."""

    name: str
    version: int
    alpha: float


@dataclass(frozen=True)
class RefreshFolder:
    """The files of one refresh, by purpose. `name` is that of its run: the model's name and a number."""

    path: Path
    name: str

    @property
    def id(self) -> str:
        """The id of what is trained now. Raises TrainingConfigError if its file is gone or cannot be read."""
        return self._begun().id

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

    @property
    def trained_recipe_file(self) -> Path:
        """A copy of the recipe with which the training began."""
        return self.path / "trained-recipe.toml"

    def set_run_aside(self) -> Path:
        """Rename the training run, and drop what was made of it, so that the training begins again.

        The id changes: the version that the run became is not that of the next one.
        """
        number = 1 + len(list(self.path.glob(f"{self.name}-before-*")))
        kept = self.path / f"{self.name}-before-{number}"
        for mixed in self.path.glob(f"{self.name}-[01]*"):
            shutil.rmtree(mixed)
        self.begin(self._begun().request)
        self.run.path.rename(kept)
        return kept

    @property
    def is_recipe_edited(self) -> bool:
        """Whether the recipe is another one than that with which the training began."""
        begun_with = self.trained_recipe_file
        return begun_with.is_file() and begun_with.read_bytes() != self.recipe_file.read_bytes()

    @property
    def judged_file(self) -> Path:
        """The measured mixes."""
        return self.path / JUDGED_FILE

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

    def published(self) -> Published | None:
        """The version that this refresh became; None as long as it is not finished."""
        return _read(self.path / PUBLISHED_FILE, Published)

    def request(self) -> Request | None:
        """What this refresh was asked for; None if its file is gone."""
        begun = _read(self.path / REQUEST_FILE, Begun)
        return None if begun is None else begun.request

    def begin(self, request: Request) -> None:
        """Record the request, with a new id."""
        begun = Begun(id=uuid4().hex, request=request)
        write_text(self.path / REQUEST_FILE, f"{begun.model_dump_json()}\n")

    def _begun(self) -> Begun:
        begun = _read(self.path / REQUEST_FILE, Begun)
        if begun is None:
            raise TrainingConfigError(
                f"{self.path / REQUEST_FILE} is missing: remove its folder to begin again"
            )
        return begun

    def set_published(self, published: Published) -> None:
        """Record the version: the refresh is finished."""
        write_text(self.path / PUBLISHED_FILE, f"{published.model_dump_json()}\n")


def open_folder(root: Path, name: str, request: Request, *, again: bool = False) -> RefreshFolder:
    """The newest refresh of `name` with the same request, else a new one with the next number.

    With `again`, a finished refresh is not returned: a new one begins.
    """
    numbers = _numbers(root, name)
    for number in sorted(numbers, reverse=True):
        folder = RefreshFolder(numbers[number], f"{name}-{number}")
        if folder.request() == request:
            if again and folder.published():
                break
            return folder
    number = max(numbers, default=0) + 1
    new = RefreshFolder(root / f"{name}-{number}", f"{name}-{number}")
    new.begin(request)
    return new


def latest_folder(root: Path, name: str) -> RefreshFolder | None:
    """The newest refresh of `name`; None if there is none."""
    numbers = _numbers(root, name)
    if not numbers:
        return None
    latest = max(numbers)
    return RefreshFolder(numbers[latest], f"{name}-{latest}")


def _numbers(root: Path, name: str) -> Mapping[int, Path]:
    folders = root.glob(f"{name}-*") if root.is_dir() else ()
    matches = ((re.fullmatch(r"-([1-9][0-9]*)", path.name[len(name) :]), path) for path in folders)
    return {int(match[1]): path for match, path in matches if match is not None}


def _read(file: Path, kind: type[Stored]) -> Stored | None:
    try:
        return kind.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise TrainingConfigError(f"{file} cannot be read: remove its folder to begin again") from error
