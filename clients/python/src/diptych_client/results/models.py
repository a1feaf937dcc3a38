"""Models of the repository and their versions."""

from __future__ import annotations

from dataclasses import dataclass

from diptych_client.results.common import Json
from diptych_client.results.serving import Serving


@dataclass(frozen=True)
class BrokenFolder:
    """A folder, file or link in the model repository that is no version or no model, and why."""

    folder: str
    reason: str


@dataclass(frozen=True)
class IgnoredVersion:
    """A version that the server cannot serve on its machine, such as one built for another GPU."""

    version: int
    reason: str


@dataclass(frozen=True)
class Reliability:
    """How reliable relevance is for one kind of query, and on how many it was fitted.

    `error`: the expected calibration error; None if it was not measured. `ignored`: why hits have no
    relevance nevertheless, such as an error that is too large.
    """

    error: float | None
    n_queries: int
    ignored: str | None = None


@dataclass(frozen=True)
class Calibration:
    """What gives search hits a relevance. Kinds of query without a reliability have none.

    `n_background`: pictures that a query is compared with in addition to the collection.
    """

    n_background: int
    text: Reliability | None
    image: Reliability | None


@dataclass(frozen=True)
class ModelSummary:
    """A model of the repository with its versions. `active` is the served version; None if none is served.

    `ignored`: versions that cannot be served there, with the reasons. `broken`: what is no version.
    `loaded`: versions in memory, also those that made the vectors of collections. `bundle`: the sha256 of the
    manifest of the active version; `replaced`: the repository has other content under its number by now.
    `calibration`: that of the active version, or else of the latest; None if hits have no relevance.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Serving | None = None
    ignored: tuple[IgnoredVersion, ...] = ()
    broken: tuple[BrokenFolder, ...] = ()
    loaded: tuple[int, ...] = ()
    bundle: str = ""
    replaced: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True)
class ModelVersion:
    """One version with its manifest (parity, metrics), or the error that makes it unreadable.

    `prompt_sets`: names for `templates` of `classify`. `serving`: None unless the version is active.
    `ignored`: why the server cannot serve it on its machine, if so. `calibration`: None if search hits have
    no relevance.
    """

    name: str
    version: int
    active: bool
    manifest: Json | None
    error: str | None
    prompt_sets: tuple[str, ...] = ()
    serving: Serving | None = None
    ignored: str | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class PushedVersion:
    """The version that the server has after a push, under its own number.

    `created`: it was not there before. `active`: it serves; a new one does once it is activated.
    """

    name: str
    version: int
    created: bool
    active: bool
    n_files: int
    n_bytes: int
