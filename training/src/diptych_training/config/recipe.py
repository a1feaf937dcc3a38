"""A whole training recipe: its tables, and what they must agree on."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.config.data import AugmentConfig, DataConfig
from diptych_training.config.prepare import check_preparation, image_defaults, text_defaults
from diptych_training.config.run import OptimConfig, RunConfig, ScaleConfig
from diptych_training.config.start import (
    DistillConfig,
    ImageStartConfig,
    LockConfig,
    LoraConfig,
    StartConfig,
    TextTeacherConfig,
)
from diptych_training.models.config import (
    EfficientNetLiteConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    WordPiecesConfig,
    is_routed,
)
from diptych_training.objectives.bag_of_words import BagOfWordsConfig
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
    lora: LoraConfig | None = None
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
    def drawing_size(self) -> int | None:
        """The size of the images of a step if `lock.cache` computes only what is made of photographs once;
        else None.
        """
        image = self.model.image
        is_part = self.lock.cache and self.lock.image != "all"
        return image.drawing_size if is_part and isinstance(image, PhotographsAndDrawingsConfig) else None

    @property
    def rehearsed(self) -> dict[str, int]:
        """Number of items per batch from each data set of `data.rehearsal`."""
        return self.data.rehearsed(self.run.batch_size)

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
    def _check_tables(self) -> "TrainConfig":
        """Check that the tables fit each other."""
        check_preparation(self.preprocess, self.text, self.model)
        self.run.check_model(self.model)
        self.optim.check_steps(self.run.steps)
        self._check_loss()
        if self.distill is not None and self.distill.on == "rehearsed" and not self.data.rehearsal:
            raise ValueError('distill.on is "rehearsed", but data.rehearsal names no data set')
        self.data.check_batch(self.run.batch_size)
        return self

    def _check_loss(self) -> None:
        if self.loss == "sigmoid" and self.model.initial_bias is None:
            raise ValueError('loss is "sigmoid", which needs model.initial_bias (SigLIP: -10)')
        if self.distill is not None and self.loss != "softmax":
            raise ValueError(f'loss is "{self.loss}", but distill works with the "softmax" loss only')
        if self.loss == "sigmoid" and self.label_smoothing:
            raise ValueError(
                f'label_smoothing is {self.label_smoothing}: loss is "sigmoid", which judges each pair '
                "by itself and has no targets to smooth"
            )

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
        if isinstance(self.objective, BagOfWordsConfig) and self.objective.balanced and self.data.pairs:
            raise ValueError(
                "objective.balanced is true, but data.pairs are read in order: it needs a packed data set"
            )

    @model_validator(mode="after")
    def _check_start_image(self) -> "TrainConfig":
        if self.start_image is not None and self.start is not None:
            raise ValueError("start_image goes without start, which brings an image tower of its own")
        if self.start_image is not None and self.predictive is not None:
            raise ValueError(f'objective is "{self.predictive.kind}", which cannot begin from start_image')
        return self

    @model_validator(mode="after")
    def _check_text_teacher(self) -> "TrainConfig":
        if self.text_teacher is not None:
            if self.predictive is not None:
                raise ValueError(f'objective is "{self.predictive.kind}", which has no text tower to teach')
            self.text_teacher.check_model(self.model.embed_dim, self.lock)
        is_taught = self.text_teacher is not None and self.text_teacher.teaches_route
        if is_routed(self.model) and not is_taught and self.start is None:
            raise ValueError(
                "model.text.routed is true, but nothing teaches it: set text_teacher.templates and "
                "text_teacher.template_probability"
            )
        return self

    @model_validator(mode="after")
    def _check_cache(self) -> "TrainConfig":
        if self.lock.cache:
            is_part = self.drawing_size is not None and self.lock.image != 0
            changes: dict[str, object] = {
                f"augment.{key}": value for key, value in self.augment if key.endswith("_probability")
            }
            if is_part:  # the drawings' tower learns from changed images
                changes = {}
            changes["run.start_size"] = self.run.start_size if self.run.start_fraction else None
            predictive = "" if self.predictive is None else self.predictive.kind
            is_sharded = self.scale.shard
            teachers = () if self.distill is None else self.distill.teachers
            # The start makes of photographs what the locked part does.
            known = {self.start.source} if is_part and self.start is not None else set()
            others = {
                "distill.teachers need the pixels of each step, which lock.cache leaves out": bool(
                    {*teachers} - known
                ),
                f'objective is "{predictive}", but lock.cache needs two towers': self.predictive is not None,
                "scale.shard is true, but lock.cache needs a whole image tower in each rank": is_sharded,
            }
            self.lock.check_cache(changes, self.data.pairs, others, is_part=is_part)
        return self

    @model_validator(mode="after")
    def _check_lora(self) -> "TrainConfig":
        if self.lora is not None:
            for message, holds in {
                "lora adapts what a start model has learned: it needs start": self.start is None,
                "lora goes without scale.shard: adapters are small, and locked weights need no moments": (
                    self.scale.shard
                ),
                "lora goes without lock.cache: features that are computed once are those of a tower of which "
                "nothing learns": self.lock.cache,
            }.items():
                if holds:
                    raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_aligned(self) -> "TrainConfig":
        """Require the names of the weights that a tower starts from, unless the start model brings them."""
        if self.start is not None:
            return self
        image, text, start = self.model.image, self.model.text, self.start_image
        lite, key, n_of_classes = image, "model.embed_dim", self.model.embed_dim
        if is_pair := isinstance(image, PhotographsAndDrawingsConfig):
            lite, key, n_of_classes = image.photographs, "model.image.photograph_dim", image.photograph_dim
        has_classes = isinstance(lite, EfficientNetLiteConfig) and lite.classes is not None
        has_clip_art = start is not None and start.clip_art is not None
        for part, is_needed, is_given in (
            ("classes", has_classes, start is not None and start.classes is not None),
            ("drawings", is_pair, start is not None and start.drawings is not None),
            ("clip_art", is_pair and has_clip_art, has_clip_art),
        ):
            if is_needed != is_given:
                raise ValueError(
                    f"start_image.{part} is {'missing' if is_needed else 'given'}, "
                    f"{'which' if is_needed else 'but not what'} model.image of kind {image.kind} needs"
                )
        teacher = None if self.text_teacher is None else self.text_teacher.dims or self.model.embed_dim
        needed = {}
        if isinstance(text, WordPiecesConfig):
            needed["model.text.mean_dim"] = text.mean_dim
        if has_classes:
            needed[key] = n_of_classes
        for key, n in needed.items():
            if teacher is None:
                raise ValueError(
                    f"{key} is {n}: numbers that a sentence encoder teaches, so the recipe needs a table "
                    f"[text_teacher] with dims = {n}"
                )
            if teacher != n:
                raise ValueError(f"{key} is {n}: text_teacher.dims must be the same, it is {teacher}")
        return self
