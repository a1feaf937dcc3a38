"""Image-text pairs that are read as streams (`data.pairs`); reads nothing."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from diptych_training.models.frozen import Frozen


class PairsConfig(Frozen):
    """Image-text pairs that are read as streams, in place of the training part of a packed data set.

    `train` names tar shards, tables, folders or what `diptych-train data shards` wrote: paths or URLs, with
    braces and wildcards. A batch is made of equal parts of all streams. The order of a run hangs on its seed,
    `streams`, `shuffle` and the sources, and neither on `workers` nor on the number of processes that train.
    """

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    streams: PositiveInt = 8  # fewer if left out, where a batch is no multiple of it
    shuffle: int = Field(
        default=2048, ge=0
    )  # entries held to be mixed, by all streams together; 0: as they come
    workers: int = Field(default=2, ge=0)  # processes that read and decode; 0: the one that trains
    max_skipped: float = Field(default=0.01, ge=0, lt=1)  # share of a stream's entries that may be unusable
    exclude: tuple[str, ...] = ()  # files with names of pairs that are left out
    image_column: str | None = None  # of tables; found by the usual names if left out
    caption_columns: tuple[str, ...] = ()
    images_root: str | None = None  # where paths in tables lead from; the table's own folder if left out
    caption_key: str = "caption"  # of JSON files beside images
    decode: Literal["exact", "fast"] = "exact"  # fast: large JPEGs at a fraction of their size
    max_image_bytes: PositiveInt = 20_000_000
    max_image_px: PositiveInt = 50_000_000
    accept_changes: bool = False  # of the sources' files and lists, when a run goes on
    tokenizer_pairs: PositiveInt = 100_000  # whose texts a new tokenizer is learned from

    @field_validator("train", "exclude", "caption_columns", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """One name may stand without its brackets."""
        return [value] if isinstance(value, str) else value
