"""The one list of photographs: the split that each is in, with its name, licence, author and source.

`photographs.tsv` has all photographs that any part of the project uses. A photograph is in one split only:
`training` (the shipped models train on none), `rehearsal`, `proof`, or `judging`, by which a finished model
is judged. No photograph of `judging` is ever in the proof set of a bundle.
"""

import csv
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from diptych_training.errors import DataError
from diptych_training.paths import cache_dir

PhotographSplit = Literal["training", "rehearsal", "proof", "judging"]
LIST = "photographs.tsv"
INSTALLED = ("skimage", "sklearn")  # packages of Python; the others are packages of Debian
COMMAND = "diptych-train data proof-photographs"


@dataclass(frozen=True)
class ListedPhotograph:
    """`file` is the package and the path in it. `everyday` is one of ten labels, or empty.

    Without a licence none is known for the photograph itself, and it is never shared.
    """

    split: PhotographSplit
    file: str
    name: str
    licence: str
    author: str
    source: str
    sha256: str
    everyday: str

    @property
    def package(self) -> str:
        """The package that has it."""
        return self.file.partition("/")[0]

    @property
    def path(self) -> str:
        """Its path in the package."""
        return self.file.partition("/")[2]

    @property
    def title(self) -> str:
        """A plain name that no other photograph of a proof set has."""
        return f"{self.package}-{PurePosixPath(self.file).stem}".replace(" ", "-")

    @property
    def is_installed(self) -> bool:
        """Whether a package of Python has it."""
        return self.package in INSTALLED

    @property
    def is_shared(self) -> bool:
        """Whether the proof set of a bundle may have it."""
        return self.split in ("rehearsal", "proof") and self.licence != ""


@cache
def listed_photographs(split: PhotographSplit | None = None) -> tuple[ListedPhotograph, ...]:
    """All photographs, or those of one split, in the order of the list."""
    text = files(__package__).joinpath(LIST).read_text("utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    listed = tuple(ListedPhotograph(split=_split(row.pop("split")), **row) for row in rows)
    return tuple(one for one in listed if split in (None, one.split))


def proof_folder() -> Path:
    """Where the photographs of Debian's packages are that proof sets are made of."""
    return cache_dir() / "photographs" / "proof"


def photograph_file(listed: ListedPhotograph, folder: Path) -> Path:
    """The file of a photograph in an installed package, or else where `folder` has it."""
    if not listed.is_installed:
        return folder / listed.package / PurePosixPath(listed.path).name
    spec = find_spec(listed.package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{listed.package} has photographs: pip install 'diptych-training[import]'")
    return Path(spec.submodule_search_locations[0]) / listed.path


def read_photograph(listed: ListedPhotograph, folder: Path) -> bytes:
    """The content of a photograph. Raises DataError if it is missing or not the listed one."""
    file = photograph_file(listed, folder)
    if not file.is_file():
        raise DataError(f"{file} is missing: {_remedy(listed)}")
    content = file.read_bytes()
    require_listed(listed, content, f"{file}: {_remedy(listed)}")
    return content


def require_listed(listed: ListedPhotograph, content: bytes, where: str) -> None:
    """Raise DataError if the content is not that of the listed photograph."""
    found = sha256(content).hexdigest()
    if found != listed.sha256:
        raise DataError(f"the sha256 of {listed.file} is {found}, listed is {listed.sha256}: {where}")


def _remedy(listed: ListedPhotograph) -> str:
    return f"it comes with {listed.package}" if listed.is_installed else f"`{COMMAND}` writes it"


def _split(value: str) -> PhotographSplit:
    found: PhotographSplit | None = next((one for one in get_args(PhotographSplit) if one == value), None)
    assert found is not None, value
    return found
