"""What a run learns from (`data`); knows nothing of how it is stored."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from diptych_training.schema import Frozen, Probability, Share


class CaptionConfig(Frozen):
    """Which of an item's texts a step shows, as relative weights.

    `label` alone; `label_keywords` is the label and up to `max_keywords` of its keywords, shuffled; `caption`
    is one of the item's further captions. A `template` is put around the text with `template_probability`.
    """

    label: Share = 0.5
    label_keywords: Share = 0.25
    caption: Share = 0.25
    max_keywords: PositiveInt = 3
    template_probability: Probability = 0.0
    templates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "CaptionConfig":
        if self.label <= 0:
            raise ValueError("label must be positive: some items have nothing else")
        if self.template_probability and not self.templates:
            raise ValueError("template_probability is set, but templates is empty")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} must have exactly one {{}}")
        return self


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


class RehearsalConfig(Frozen):
    """Another packed data set, whose training part gives a `share` of every batch, rounded to whole items.

    `data` is its folder. `mixture` and `source_weights` say of it what the recipe's own say of `--data`; left
    out, its kinds are as likely as one another.
    """

    data: str = Field(min_length=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    mixture: dict[str, Share] | None = Field(default=None, min_length=1)
    source_weights: dict[str, Share] = Field(default={})


class DataConfig(Frozen):
    """What is learned from: relative weights of kinds of sources, and of single sources within their kind;
    or `pairs`. Without a `mixture` all kinds are as likely as one another. `rehearsal` names further data
    sets that each batch has a share of."""

    pairs: PairsConfig | None = None
    mixture: dict[str, Share] = Field(default={"emoji": 1.0, "icons": 1.0}, min_length=1)
    source_weights: dict[str, Share] = Field(default={})
    captions: CaptionConfig = CaptionConfig()
    rehearsal: dict[str, RehearsalConfig] = Field(default={})
