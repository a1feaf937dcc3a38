"""Count the values of metadata fields: of one field among the hits of a search, or of all in a collection."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from diptych.core.collections.metadata.filters import Path, lookup
from diptych.core.types import Hit

MAX_VALUES = 100  # of one field
MAX_FIELDS = 200  # of a collection
MAX_VALUE_CHARS = 200  # of a text that is listed among the values of a field of a collection
MAX_READ = 200_000  # images of a collection whose metadata is read to describe its fields
Scalar = str | int | float | bool | None
FieldKind = Literal["text", "number", "boolean", "null", "list", "object"]


@dataclass(frozen=True)
class Facet:
    """How many of the `n_hits` best hits have each value of a field: the most frequent values first."""

    path: Path
    n_hits: int
    values: list[tuple[Any, int]]


@dataclass(frozen=True)
class Field:
    """One key of the metadata of a collection, on its top level, or the path of one inside of objects.

    `n_images` have it. `values` are the most frequent of `n_distinct`, each with the number of images that
    have it; of a list each element counts, once an image. `min` and `max` are those of its numbers.
    """

    name: str
    n_images: int
    kinds: list[FieldKind]
    n_distinct: int
    values: list[tuple[Scalar, int]]
    min: int | float | None
    max: int | float | None


@dataclass(frozen=True)
class FieldSummary:
    """The most common of the `n_fields` fields that `n_read` images have, of the `n_images` asked for."""

    n_images: int
    n_read: int
    n_fields: int
    fields: list[Field]


@dataclass(frozen=True)
class Months:
    """How many of `n_images` images have a date of each month, such as "2024-05", the oldest first.

    Images without a date in the field are of no month.
    """

    n_images: int
    counts: dict[str, int]


@dataclass(frozen=True)
class Folder:
    """A folder by its path. `n_images` are in it or in one within it, of which there are `n_folders`, those
    on the next level.
    """

    folder: str
    n_images: int
    n_folders: int


def folders_of(counts: Mapping[str, int], under: str) -> list[Folder]:
    """The folders that are directly within a folder, or with "" the topmost ones, from A to Z. Among those is
    ".", of images that are in no folder.

    `counts`: how many images are in each folder itself.
    """
    start = f"{under}/" if under else ""
    n_images, within = Counter[str](), dict[str, set[str]]()
    for path, n in counts.items():
        if path.startswith(start) and path:
            name, _, rest = path[len(start) :].partition("/")
            folder = start + name
            n_images[folder] += n
            names = within.setdefault(folder, set())
            if rest:
                names.add(rest.partition("/")[0])
    return [Folder(one, n_images[one], len(within[one])) for one in sorted(n_images)]


def count_facets(paths: Sequence[Path], hits: Sequence[Hit]) -> list[Facet]:
    """The facets of the distinct paths, in order. Long arrays take seconds, so call it in a thread."""
    return [count_values(path, hits) for path in dict.fromkeys(paths)]


def count_values(path: Path, hits: Sequence[Hit]) -> Facet:
    """Count texts, numbers, booleans and nulls; of an array each element, once a hit.

    As in filters 1 equals 1.0, and true is not 1. Equally frequent values keep the order of the hits.
    """
    counts: Counter[tuple[bool, Any]] = Counter()
    for hit in hits:
        found = lookup(hit.metadata, path, absent=[])
        values = found if isinstance(found, list) else [found]
        scalars = (value for value in values if not isinstance(value, list | dict))
        counts.update(dict.fromkeys((isinstance(value, bool), value) for value in scalars).keys())
    most = counts.most_common(MAX_VALUES)
    return Facet(path, len(hits), [(value, count) for (_, value), count in most])
