"""A training recipe as data: read from TOML, checked, frozen; knows nothing of how it is carried out."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.errors import TrainingConfigError
from diptych_training.loss import LossKind
from diptych_training.models.config import Frozen, ModelConfig
from diptych_training.models.named import NAME_KEY, resolve_architecture

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0)]


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
    streams: PositiveInt = 8
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
    tokenizer_pairs: PositiveInt = 100_000  # whose texts a new tokenizer is learned from

    @field_validator("train", "exclude", "caption_columns", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """One name may stand without its brackets."""
        return [value] if isinstance(value, str) else value


class DataConfig(Frozen):
    """What is learned from: relative weights of kinds of sources, and of single sources within their kind;
    or `pairs`."""

    pairs: PairsConfig | None = None
    mixture: dict[str, Share] = Field(default={"emoji": 1.0, "icons": 1.0}, min_length=1)
    source_weights: dict[str, Share] = Field(default={})
    captions: CaptionConfig = CaptionConfig()


class AugmentConfig(Frozen):
    """Random changes of training images. Each `..._probability` is per image, ranges are around no change.

    There is no horizontal flip on purpose: left and right arrows mean different things.
    """

    affine_probability: Probability = 0.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.15)  # size of the drawing against the original
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
    cutout_probability: Probability = 0.0
    cutout: Probability = 0.35  # side of the square, as a fraction of the image's

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is {self.scale[0]} to {self.scale[1]}: the smaller comes first")
        return self


class StartConfig(Frozen):
    """What a run starts from, instead of random weights: what it takes from there it need not say itself.

    `source`: a version of a model repository (NAME/VERSION, or its folder), a run (its name or folder), or a
    checkpoint of open_clip, transformers or OpenAI (a folder, a file, a hub id), for which the recipe says
    the `model`. `which`: the checkpoint of a run. `tokenizer`: the tokenizer file of weights that come alone;
    the recipe says all else. In a recipe ``start = "SOURCE"`` is enough.
    """

    source: str = Field(min_length=1)
    which: Literal["best", "last"] = "best"
    tokenizer: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value


class LockConfig(Frozen):
    """What keeps its weights (Zhai et al. 2022, LiT): a whole tower, or its first layers, the stem counted.

    A locked batch normalisation keeps its running statistics too, and normalises by them; with `statistics`
    all do, those that learn as well. `scale` is the learned logit scale.
    """

    image: Literal["all"] | Annotated[int, Field(ge=0)] = 0
    text: Literal["all"] | Annotated[int, Field(ge=0)] = 0
    scale: bool = False
    statistics: bool = False


class OptimConfig(Frozen):
    """AdamW, warm-up and cosine. A layer's rate is `lr`, times `layer_decay` for each layer above it."""

    lr: PositiveFloat = 1e-3
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    min_lr_ratio: Probability = 0.01
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    eps: PositiveFloat = 1e-6
    grad_clip: PositiveFloat = 1.0
    max_skipped_in_row: PositiveInt = 20


class RunConfig(Frozen):
    """How long, how often, and on what terms with the machine."""

    steps: PositiveInt
    batch_size: int = Field(default=256, ge=2)
    precision: Literal["fp32", "bf16"] = "bf16"
    channels_last: bool = True
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 500
    validate_every: PositiveInt = 500
    best_by: tuple[str, ...] = Field(default=("emoji_top1", "icons_top1"), min_length=1)  # their mean
    n_threads: int = Field(default=0, ge=0)  # 0: all cores
    start_size: PositiveInt | None = (
        None  # image side of the first steps: most is learned as well, and faster
    )
    start_fraction: Probability = 0.0  # how many of the steps those are

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if self.start_fraction and self.start_size is None:
            raise ValueError(f"start_fraction is {self.start_fraction}, but start_size is missing")
        return self


class ScaleConfig(Frozen):
    """How a model and a batch are fitted into memory and spread over processes; not what is learned.

    A run may be resumed with other values.
    """

    chunk_size: PositiveInt | None = None  # items of a rank that are computed at a time (gradient caching)
    checkpoint_blocks: bool = False  # transformer blocks compute their inside again for the backward pass
    compile: bool = False  # torch.compile for the blocks of both towers
    shard: bool = False  # each rank keeps a share of the weights (FSDP2), not a copy (DDP)
    timeout_s: PositiveFloat = 600.0  # a rank that does not answer for so long is lost


class TrainConfig(Frozen):
    """One recipe, whole."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    loss: LossKind = "softmax"
    model: ModelConfig
    preprocess: ImageSpec
    text: TextSpec
    start: StartConfig | None = None
    lock: LockConfig = LockConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig
    scale: ScaleConfig = ScaleConfig()

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.preprocess.size != self.model.image_size:
            raise ValueError(
                f"preprocess.size {self.preprocess.size} is not model.image_size {self.model.image_size}"
            )
        size, start = self.model.image_size, self.run.start_size
        if start is not None and (start % self.model.image.stride or size % start):
            raise ValueError(
                f"run.start_size {start} must divide {size} and be a multiple of the tower's stride"
            )
        if self.text.context_length != self.model.text.context_length:
            raise ValueError(
                f"text.context_length {self.text.context_length} is not "
                f"model.text.context_length {self.model.text.context_length}"
            )
        if self.model.text.sees_padding and self.text.pad_to != "context_length":
            raise ValueError(
                f'text.pad_to is "{self.text.pad_to}", but this text tower sees padding: '
                'it must be "context_length"'
            )
        if self.loss == "sigmoid" and self.model.initial_bias is None:
            raise ValueError('loss is "sigmoid", which needs model.initial_bias (SigLIP: -10)')
        if self.text.pad_id >= self.model.text.vocab_size:
            raise ValueError(
                f"text.pad_id is {self.text.pad_id}, it must be below "
                f"model.text.vocab_size {self.model.text.vocab_size}"
            )
        pairs = self.data.pairs
        if pairs is not None and self.run.batch_size % pairs.streams:
            raise ValueError(
                f"run.batch_size {self.run.batch_size} is not a multiple of data.pairs.streams "
                f"{pairs.streams}: each gives an equal part of a batch"
            )
        if self.optim.warmup_steps > self.run.steps:
            raise ValueError(
                f"optim.warmup_steps {self.optim.warmup_steps} is more than run.steps {self.run.steps}"
            )
        return self


Tables = dict[str, Any]


def read_config(
    path: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    start: str | None = None,
    beneath: Callable[[Tables], Tables] | None = None,
) -> TrainConfig:
    """Read a TOML recipe; `overrides` are ``key.path=value`` with TOML values, `name` is taken as it is.

    `model` may be the name of an architecture (`diptych-train models`), or a table with that name as
    `architecture` and whatever differs from it.

    `start` takes the place of the recipe's own. `beneath` gives the tables of the model that a recipe starts
    from: those of the recipe are laid over them, key by key. Raises TrainingConfigError naming file and key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(f"{path}: no such configuration") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    _open_name(values)
    for override in overrides:
        _apply(values, override)
        _open_name(values)
    if name is not None:
        values["name"] = name
    if start is not None:
        values["start"] = start
    try:
        if beneath is not None and "start" in values:
            values = _over_start(beneath(values), values)
        return TrainConfig.model_validate(resolve_architecture(values))
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {_explain(error)}") from error


def model_tables(stated: TrainConfig) -> Tables:
    """What of a recipe says what a model is, and by which loss it learns."""
    tables = {
        table: getattr(stated, table).model_dump(mode="json", exclude_none=True)
        for table in ("model", "preprocess", "text")
    }
    return {"loss": stated.loss, **tables}


def dump_config(config: TrainConfig) -> str:
    """The recipe as TOML, defaults written out; what is None is left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _open_name(values: dict[str, Any]) -> None:
    """`model = "NAME"` as the table that it is short for, so that single keys can be changed beside it."""
    if isinstance(values.get("model"), str):
        values["model"] = {NAME_KEY: values["model"]}


def _over_start(lower: Tables, recipe: Tables) -> Tables:
    """The recipe's own keys, else those of its start, else those of the architecture that it names.

    A model that it names must be that of the start: this is checked where both are known.
    """
    named = resolve_architecture(recipe)
    merged = _laid_over(_laid_over(named, lower), recipe)
    if isinstance(named.get("model"), dict):
        merged["model"] = _laid_over(lower.get("model", {}), named["model"])
    return merged


def _laid_over(lower: Tables, upper: Tables) -> Tables:
    """Both, key by key; where both have a value that is no table, the upper one."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        is_both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _laid_over(below, value) if is_both else value  # type: ignore[arg-type]
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator:
        raise TrainingConfigError(f"--set {override!r}: must be key=value")
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise TrainingConfigError(f"--set {override!r}: {table} is a value, not a table")
    values[last] = _toml_value(raw.strip())


def _toml_value(raw: str) -> Any:
    """A TOML value; what is none is taken as a string, so that names need no quotes in a shell."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "configuration"
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
        lines.append(f"{key}: {message}")
    return "; ".join(lines)
