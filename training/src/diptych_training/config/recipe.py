"""A whole training recipe: its tables, and what they must agree on."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.config.data import AugmentConfig, DataConfig
from diptych_training.config.run import OptimConfig, RunConfig, ScaleConfig
from diptych_training.config.start import (
    DistillConfig,
    ImageStartConfig,
    LockConfig,
    StartConfig,
    TextTeacherConfig,
)
from diptych_training.models.config import (
    EfficientNetLiteConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    WordPiecesConfig,
)
from diptych_training.objectives.contrastive import LossKind
from diptych_training.objectives.convirt import ConvirtConfig
from diptych_training.objectives.kinds import ObjectiveConfig, PredictiveConfig
from diptych_training.schema import Frozen, refuse_flags


class TrainConfig(Frozen):
    """A whole training recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    loss: LossKind = "softmax"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # share of a target spread over the whole batch
    objective: ObjectiveConfig | None = None  # instead of CLIP or SigLIP, which `loss` names
    model: ModelConfig
    start: StartConfig | None = None
    start_image: ImageStartConfig | None = None
    preprocess: ImageSpec = Field(default={}, validate_default=True)
    text: TextSpec = Field(default={}, validate_default=True)
    lock: LockConfig = LockConfig()
    distill: DistillConfig | None = None
    text_teacher: TextTeacherConfig | None = None
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig
    scale: ScaleConfig = ScaleConfig()

    @property
    def predictive(self) -> PredictiveConfig | None:
        """The objective, if it has no text tower."""
        return None if isinstance(self.objective, ConvirtConfig) else self.objective

    @property
    def rehearsed(self) -> dict[str, int]:
        """Number of items per batch from each data set of `data.rehearsal`."""
        return {name: round(one.share * self.run.batch_size) for name, one in self.data.rehearsal.items()}

    @property
    def n_own(self) -> int:
        """Number of items per batch from the run's own data."""
        return self.run.batch_size - sum(self.rehearsed.values())

    @field_validator("preprocess", "text", mode="before")
    @classmethod
    def _complete(cls, value: Any, info: ValidationInfo) -> Any:
        """Fill keys that are left out from the model; with a `start`, the table must come from the start
        model.

        Booleans in place of numbers are refused, as in other tables.
        """
        is_image = info.field_name == "preprocess"
        refuse_flags(ImageSpec if is_image else TextSpec, value)
        has_start = info.data.get("start") is not None
        if has_start and not value:
            raise PydanticKnownError("missing")
        if has_start or not isinstance(value, Mapping):
            return value
        model = info.data.get("model")
        return {**(image_defaults(model) if is_image else text_defaults(model)), **value}

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.preprocess.size != self.model.image_size:
            raise ValueError(
                f"preprocess.size is {self.preprocess.size}, it must equal "
                f"model.image_size, {self.model.image_size}"
            )
        size, start = self.model.image_size, self.run.start_size
        if start is not None and (start % self.model.image.stride or size % start):
            raise ValueError(
                f"run.start_size is {start}, it must divide model.image_size, {size}, and be a multiple of "
                f"the image tower's stride, {self.model.image.stride}"
            )
        if self.text.context_length != self.model.text.context_length:
            raise ValueError(
                f"text.context_length is {self.text.context_length}, it must equal "
                f"model.text.context_length, {self.model.text.context_length}"
            )
        if self.loss == "sigmoid" and self.model.initial_bias is None:
            raise ValueError('loss is "sigmoid", which needs model.initial_bias (SigLIP: -10)')
        if self.distill is not None and self.loss != "softmax":
            raise ValueError(f'loss is "{self.loss}", but distill works with the "softmax" loss only')
        if self.loss == "sigmoid" and self.label_smoothing:
            raise ValueError(
                f'label_smoothing is {self.label_smoothing}: loss is "sigmoid", which judges each pair '
                "by itself and has no targets to smooth"
            )
        if "warmup_steps" in self.optim.model_fields_set and self.optim.warmup_steps > self.run.steps:
            raise ValueError(
                f"optim.warmup_steps is {self.optim.warmup_steps}, it must be at most "
                f"run.steps, {self.run.steps}"
            )
        return self

    @model_validator(mode="after")
    def _check_padding(self) -> "TrainConfig":
        if self.model.text.sees_padding and self.text.pad_to != "context_length":
            raise ValueError(
                f'text.pad_to is "{self.text.pad_to}", but this text tower sees padding: '
                'it must be "context_length"'
            )
        if self.text.pad_id >= self.model.text.vocab_size:
            raise ValueError(
                f"text.pad_id is {self.text.pad_id}, it must be below "
                f"model.text.vocab_size {self.model.text.vocab_size}"
            )
        if isinstance(self.model.text, WordPiecesConfig) and self.text.pad_id:
            raise ValueError(
                f"text.pad_id is {self.text.pad_id}, it must be 0: a text tower of word pieces "
                "leaves token 0 out, and would read another as part of the text"
            )
        return self

    @model_validator(mode="after")
    def _check_objective(self) -> "TrainConfig":
        if self.objective is None:
            return self
        kind = self.objective.kind
        if self.loss != "softmax" or self.label_smoothing:
            raise ValueError(
                f'objective is "{kind}": leave out loss and label_smoothing, which are of CLIP and SigLIP'
            )
        if self.distill is not None:
            raise ValueError(f'objective is "{kind}", but distill works with CLIP only')
        if isinstance(self.objective, ConvirtConfig):
            self._check_convirt()
        else:
            self._check_predictive(kind)
        return self

    def _check_convirt(self) -> None:
        if self.model.projection != "nonlinear":
            raise ValueError('objective is "convirt", which needs model.projection = "nonlinear"')
        if self.model.text.sees_padding:
            raise ValueError(
                'objective is "convirt", which needs a causal text tower that is read at the end of text'
            )

    def _check_predictive(self, kind: str) -> None:
        if isinstance(self.model.image, PhotographsAndDrawingsConfig):
            raise ValueError(
                f'objective is "{kind}", which cannot train model.image of kind {self.model.image.kind}'
            )
        if self.start is not None:
            raise ValueError(f'objective is "{kind}", which has no text tower: it cannot begin from start')
        if self.lock.text or self.lock.scale:
            raise ValueError(
                f'objective is "{kind}", which has no text tower: leave out lock.text, lock.scale'
            )
        if self.scale.shard:
            raise ValueError(f'objective is "{kind}", which scale.shard cannot share')

    @model_validator(mode="after")
    def _check_start_image(self) -> "TrainConfig":
        if self.start_image is not None and self.start is not None:
            raise ValueError("start_image goes without start, which brings an image tower of its own")
        if self.start_image is not None and self.predictive is not None:
            raise ValueError(f'objective is "{self.predictive.kind}", which cannot begin from start_image')
        return self

    @model_validator(mode="after")
    def _check_text_teacher(self) -> "TrainConfig":
        taught = self.text_teacher
        if taught is None:
            return self
        if self.predictive is not None:
            raise ValueError(f'objective is "{self.predictive.kind}", which has no text tower to teach')
        if self.lock.text == "all":
            raise ValueError('lock.text is "all": a text tower that does not change cannot be taught')
        if taught.dims is not None and taught.dims > self.model.embed_dim:
            raise ValueError(
                f"text_teacher.dims is {taught.dims}, it must be at most model.embed_dim, "
                f"{self.model.embed_dim}"
            )
        return self

    @model_validator(mode="after")
    def _check_cache(self) -> "TrainConfig":
        if not self.lock.cache:
            return self
        if self.lock.image != "all":
            raise ValueError(
                f'lock.image is {self.lock.image}, but lock.cache needs "all": features that are computed '
                "once are those of a tower of which nothing learns"
            )
        changes = {f"augment.{key}": value for key, value in self.augment if key.endswith("_probability")}
        changes["run.start_size"] = self.run.start_size if self.run.start_fraction else None
        for key, value in changes.items():
            if value:
                raise ValueError(
                    f"{key} is {value}, but lock.cache computes the features of each image once, as it is "
                    "stored: leave it out"
                )
        if self.data.pairs is not None:
            raise ValueError(
                f'data.pairs.train is "{", ".join(self.data.pairs.train)}", but lock.cache needs a packed '
                "data set: `diptych-train data pack` makes one of pairs"
            )
        if self.distill is not None:
            raise ValueError("distill.teachers need the pixels of each step, which lock.cache leaves out")
        if self.predictive is not None:
            raise ValueError(f'objective is "{self.predictive.kind}", but lock.cache needs two towers')
        if self.scale.shard:
            raise ValueError("scale.shard is true, but lock.cache needs a whole image tower in each rank")
        return self

    @model_validator(mode="after")
    def _check_aligned(self) -> "TrainConfig":
        """What a tower takes from others must be named, unless the start model brings it."""
        if self.start is not None:
            return self
        image, text, start = self.model.image, self.model.text, self.start_image
        lite, key, n_of_classes = image, "model.embed_dim", self.model.embed_dim
        if is_pair := isinstance(image, PhotographsAndDrawingsConfig):
            lite, key, n_of_classes = image.photographs, "model.image.photograph_dim", image.photograph_dim
        has_classes = isinstance(lite, EfficientNetLiteConfig) and lite.classes is not None
        for part, is_needed, is_given in (
            ("classes", has_classes, start is not None and start.classes is not None),
            ("drawings", is_pair, start is not None and start.drawings is not None),
        ):
            if is_needed != is_given:
                raise ValueError(
                    f"start_image.{part} is {'missing' if is_needed else 'given'}, "
                    f"{'which' if is_needed else 'but not what'} model.image of kind {image.kind} needs"
                )
        taught = None if self.text_teacher is None else self.text_teacher.dims or self.model.embed_dim
        needed = {}
        if isinstance(text, WordPiecesConfig):
            needed["model.text.mean_dim"] = text.mean_dim
        if has_classes:
            needed[key] = n_of_classes
        for key, n in needed.items():
            if taught is None:
                raise ValueError(
                    f"{key} is {n}: numbers that a sentence encoder teaches, so the recipe needs a table "
                    f"[text_teacher] with dims = {n}"
                )
            if taught != n:
                raise ValueError(f"{key} is {n}: text_teacher.dims must be the same, it is {taught}")
        return self

    @model_validator(mode="after")
    def _check_parts_of_a_batch(self) -> "TrainConfig":
        if self.distill is not None and self.distill.on == "rehearsed" and not self.data.rehearsal:
            raise ValueError('distill.on is "rehearsed", but data.rehearsal names no data set')
        size, pairs = self.run.batch_size, self.data.pairs
        for name, n in self.rehearsed.items():
            if n < 1:
                share = self.data.rehearsal[name].share
                raise ValueError(
                    f"data.rehearsal.{name}.share is {share}: less than one item of run.batch_size {size}"
                )
        if self.n_own < 1:
            shares = " + ".join(str(one.share) for one in self.data.rehearsal.values())
            raise ValueError(
                f"data.rehearsal: shares of {shares} leave no item of run.batch_size {size} for other data"
            )
        if pairs is not None and "streams" in pairs.model_fields_set and self.n_own % pairs.streams:
            rest = "" if self.n_own == size else f", less {size - self.n_own} of data.rehearsal,"
            raise ValueError(
                f"run.batch_size {size}{rest} is not a multiple of data.pairs.streams {pairs.streams}: "
                "each stream gives an equal part of a batch"
            )
        return self


def image_defaults(model: ModelConfig | None) -> Mapping[str, Any]:
    """The default `[preprocess]`: the whole image on white, at the model's size, as numbers from -1 to 1.

    `model` is None if the recipe's model is invalid: then any size does, since the error of the model is
    reported alone.
    """
    return {
        "size": 1 if model is None else model.image_size,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": (255, 255, 255),
        "crop": "round",
        "alpha": "white",
    }


def text_defaults(model: ModelConfig | None) -> Mapping[str, Any]:
    """The default `[text]`: CLIP's cleaning, and only the padding that the text tower needs. `model` as
    above.
    """
    return {
        "context_length": 1 if model is None else model.text.context_length,
        "clean": "clip",
        "pad_to": "context_length" if model is not None and model.text.sees_padding else "longest",
        "pad_id": 0,
        "prompts": {"default": ["{}"]},
    }
