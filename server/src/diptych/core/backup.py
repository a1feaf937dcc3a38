"""Records of backups, and findings about a data folder or a backup."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Fault = Literal["missing", "damaged"]
File = tuple[str, int]  # sha256 and bytes of an image file
Outcomes = Iterator[tuple[str, Fault | None]]  # sha256, and what is wrong with its file


@dataclass(frozen=True)
class Counts:
    """The contents of a database. Images of equal bytes share a file."""

    n_collections: int
    n_images: int
    n_files: int
    file_bytes: int
    n_referenced: int = 0  # images whose files stay in libraries, and are in no backup


@dataclass(frozen=True)
class DatabaseFile:
    """The copy of the database in a backup."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class BackupRecord:
    """The record in a complete backup. `lost`: files that the data folder had lost or damaged before.

    `bundles`: the sha256 of the manifests of the model versions that it holds.
    `origin` is the same for all backups of one data folder, and of folders restored from them.
    """

    created_at: str  # ISO 8601, UTC
    diptych_version: str
    schema_version: int
    origin: str
    database: DatabaseFile
    counts: Counts
    lost: dict[str, Fault]
    bundles: tuple[str, ...] = ()


@dataclass(frozen=True)
class LostImage:
    """An image whose row exists and whose file is missing or damaged."""

    collection: str
    id: str
    sha256: str
    fault: Fault


@dataclass(frozen=True)
class DamagedImage:
    """An image whose row, or one of whose vectors, differs from what was written; or that is indexed with
    other words than those of its row.
    """

    collection: str
    id: str
    what: Literal["row", "vector", "words"]


@dataclass(frozen=True)
class Outcome:
    """The findings of a backup, a restore, or a check of a backup (`record`) or of a data folder.

    `damaged_images` and `damaged_words`, the collections whose index of words is damaged, are known only
    after a check.
    """

    record: BackupRecord | None
    lost_images: tuple[LostImage, ...]
    damaged_images: tuple[DamagedImage, ...] = ()
    damaged_words: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost or damaged."""
        return not (self.lost_images or self.damaged_images or self.damaged_words)


class Report(Protocol):
    """Shows the progress of the work."""

    def begin(self, work: str, n_steps: int) -> None:
        """A new part of the work begins."""
        ...

    def advance(self, n_steps: int = 1) -> None:
        """So many more steps are done."""
        ...
