"""Counted values of metadata: facets of a search, and the fields of a collection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FacetValue:
    """A value of a metadata field, and how many of the counted hits or images have it."""

    value: str | int | float | bool | None
    count: int


@dataclass(frozen=True)
class Facet:
    """The most frequent values of a metadata field among the `n_hits` best hits."""

    field: str
    n_hits: int
    values: tuple[FacetValue, ...]


@dataclass(frozen=True)
class MetadataField:
    """One key of the metadata of a collection, on its top level, which `n_images` have.

    `kinds`: "text", "number", "boolean", "null", "list" and "object". `values`: the most frequent of the
    `n_distinct` values; of a list each element counts. `min` and `max` are None without numbers.
    """

    name: str
    n_images: int
    kinds: tuple[str, ...]
    n_distinct: int
    values: tuple[FacetValue, ...]
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class MetadataFields:
    """The most common of the `n_fields` fields of a collection. Of its `n_images`, `n_read` were counted."""

    n_images: int
    n_read: int
    n_fields: int
    fields: tuple[MetadataField, ...]


@dataclass(frozen=True)
class MonthCount:
    """A month, such as "2024-05", and how many images have a date of it."""

    month: str
    n_images: int


@dataclass(frozen=True)
class Folder:
    """A folder, and how many images are in it or within it. `n_folders` are directly within it."""

    folder: str
    n_images: int
    n_folders: int


@dataclass(frozen=True)
class Folders:
    """The folders directly within `under`, from A to Z: the first thousand of `n_folders`."""

    under: str
    n_folders: int
    folders: tuple[Folder, ...]


@dataclass(frozen=True)
class Months:
    """The months of a metadata field, the oldest first. `n_images` counts images without a date, too."""

    field: str
    n_images: int
    months: tuple[MonthCount, ...]
