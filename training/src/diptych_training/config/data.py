"""The training data of a recipe (`data`): mixtures of packed data sets, captions, streams of pairs,
rehearsal; and random changes of images (`augment`).
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from diptych_training.schema import Frozen, Probability, Share


class AugmentConfig(Frozen):
    """Random changes of training images. Each `..._probability` is per image; ranges lie around no change.

    There is no horizontal flip on purpose: left and right arrows mean different things.
    """

    affine_probability: Probability = 0.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.15)  # size of the drawing relative to the original
    translate: Probability = 0.06  # largest shift, as a fraction of the side
    rotate_deg: float = Field(default=8.0, ge=0, le=180)
    squeeze: Probability = 0.08  # largest change of aspect ratio
    thickness_probability: Probability = 0.0  # strokes grow or shrink by a pixel (min or max pooling)
    outline_probability: Probability = 0.0  # the drawing's edges alone, black on white
    blur_probability: Probability = 0.0  # binomial 3x3
    grayscale_probability: Probability = 0.0
    hue_probability: Probability = 0.0
    hue: Probability = 0.05  # largest turn of the colour wheel, as a fraction of a full turn
    color_probability: Probability = 0.0
    brightness: Probability = 0.2
    contrast: Probability = 0.2
    saturation: Probability = 0.4
    recolor_probability: Probability = 0.0  # black and white go to two random colours
    invert_probability: Probability = 0.0
    shade_probability: Probability = 0.0  # light, gloss, soft shadow and paper, as in shaded drawings
    shade: Probability = 0.5  # largest strength of each of them
    cutout_probability: Probability = 0.0
    cutout: Probability = 0.35  # side of the square, as a fraction of the image's

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(
                f"scale is {self.scale[0]} to {self.scale[1]}: the smaller value must come first"
            )
        return self


def check_templates(templates: Iterable[str]) -> None:
    """Raise ValueError unless each has one place for a text."""
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} must have exactly one {{}}")


class CaptionConfig(Frozen):
    """Relative weights of the kinds of texts that a step draws for an item.

    `label` is the label alone; `label_keywords` adds up to `max_keywords` shuffled keywords to it; `caption`
    is one of the item's further captions; `keyword` is one of its keywords alone. A `template` is put around
    the text with `template_probability`. `synonyms` names a file with a text and its synonyms a line,
    separated by tabs: they are further captions of items with that label.
    """

    label: Share = 0.5
    label_keywords: Share = 0.25
    caption: Share = 0.25
    keyword: Share = 0.0
    synonyms: str | None = Field(default=None, min_length=1)
    max_keywords: PositiveInt = 3
    template_probability: Probability = 0.0
    templates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "CaptionConfig":
        if self.label <= 0:
            raise ValueError("label must be positive: some items have no other text")
        if self.template_probability and not self.templates:
            raise ValueError("template_probability is set, but templates is empty")
        check_templates(self.templates)
        return self


class PairsConfig(Frozen):
    """Image-text pairs read as streams, instead of the training part of a packed data set.

    `train` names tar shards, tables, folders or output of `diptych-train data shards`: paths or URLs, with
    braces and wildcards. Every stream gives an equal part of a batch. The order of the pairs depends on the
    seed, `streams`, `shuffle` and the sources, but not on `workers` or the number of ranks.
    """

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    streams: PositiveInt = 8  # the default is lower if the batch is not a multiple of 8
    shuffle: int = Field(default=2048, ge=0)  # size of the shuffle buffers of all streams; 0: in order
    workers: int = Field(default=2, ge=0)  # processes that read and decode; 0: the training process
    crop: Literal["center", "square", "resized"] = "center"  # the others are random: see `stream.crop`
    crop_scale: tuple[Share, Share] = (0.9, 1.0)  # of a resized crop: its share of the image's area
    max_skipped: float = Field(default=0.01, ge=0, lt=1)  # allowed share of unusable entries of a stream
    exclude: tuple[str, ...] = ()  # files with the names of pairs to leave out
    image_column: str | None = None  # of tables; found by common names if left out
    caption_columns: tuple[str, ...] = ()
    images_root: str | None = None  # base of the paths in tables; the table's own folder if left out
    caption_key: str = "caption"  # of JSON files next to images
    decode: Literal["exact", "fast"] = "exact"  # fast: large JPEGs at a fraction of their size
    max_image_bytes: PositiveInt = 20_000_000
    max_image_px: PositiveInt = 50_000_000
    accept_changes: bool = False  # of the sources' files and lists, when a run is resumed
    tokenizer_pairs: PositiveInt = 100_000  # number of pairs whose texts train a new tokenizer

    @model_validator(mode="after")
    def _check_crop(self) -> "PairsConfig":
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale is {low} to {high}: two shares of the area, the smaller one first")
        if self.crop != "center" and self.decode == "fast":
            raise ValueError(f'crop is "{self.crop}": a random crop needs decode = "exact"')
        return self

    @field_validator("train", "exclude", "caption_columns", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Accept a single name in place of a list."""
        return [value] if isinstance(value, str) else value


class RehearsalConfig(Frozen):
    """Another packed data set whose training part gives a `share` of every batch, rounded to whole items.

    `data` is its folder. `mixture` and `source_weights` work as in `data`; without a mixture, all kinds have
    the same weight.
    """

    data: str = Field(min_length=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    mixture: dict[str, Share] | None = Field(default=None, min_length=1)
    source_weights: dict[str, Share] = Field(default={})


class DataConfig(Frozen):
    """The training data: relative weights of kinds of sources and of sources within their kind, or `pairs`.

    Without a `mixture`, all kinds have the same weight. `rehearsal` names further data sets that give a share
    of each batch.
    """

    pairs: PairsConfig | None = None
    mixture: dict[str, Share] = Field(default={"emoji": 1.0, "icons": 1.0}, min_length=1)
    source_weights: dict[str, Share] = Field(default={})
    captions: CaptionConfig = CaptionConfig()
    rehearsal: dict[str, RehearsalConfig] = Field(default={})

    def rehearsed(self, batch_size: int) -> dict[str, int]:
        """Number of items per batch from each data set of `rehearsal`."""
        return {name: round(one.share * batch_size) for name, one in self.rehearsal.items()}

    def check_batch(self, size: int) -> None:
        """Raise ValueError if a batch of this size cannot be shared among the sources."""
        rehearsed = self.rehearsed(size)
        for name, n in rehearsed.items():
            if n < 1:
                share = self.rehearsal[name].share
                raise ValueError(
                    f"data.rehearsal.{name}.share is {share}: less than one item of run.batch_size {size}"
                )
        n_own, pairs = size - sum(rehearsed.values()), self.pairs
        if n_own < 1:
            shares = " + ".join(str(one.share) for one in self.rehearsal.values())
            raise ValueError(
                f"data.rehearsal: shares of {shares} leave no item of run.batch_size {size} for other data"
            )
        if pairs is not None and "streams" in pairs.model_fields_set and n_own % pairs.streams:
            rest = "" if n_own == size else f", less {size - n_own} of data.rehearsal,"
            raise ValueError(
                f"run.batch_size {size}{rest} is not a multiple of data.pairs.streams {pairs.streams}: "
                "each stream gives an equal part of a batch"
            )
