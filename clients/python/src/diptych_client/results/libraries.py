"""Libraries: folders of pictures that a server reads where they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryProblem:
    """A file or folder of a library that is left alone, and why. `path` is within the library."""

    path: str
    reason: str


@dataclass(frozen=True)
class Library:
    """A library, which the collection of this name follows. `state` is "idle", "scanning" or "waiting".

    It waits for the `reason`, and is tried again every few seconds. Of the `n_files` that are known,
    `n_missing` are not there any more, and `n_failed` are no pictures that can be read. `n_to_read`,
    `n_read`, `files_per_s` and `eta_s` are of the scan that is under way. `problems` are the first of
    `n_problems`.
    """

    name: str
    state: str
    reason: str
    n_files: int
    n_missing: int
    n_failed: int
    n_to_read: int
    n_read: int
    files_per_s: float | None
    eta_s: float | None
    scanned_at: str | None
    problems: tuple[LibraryProblem, ...]
    n_problems: int
