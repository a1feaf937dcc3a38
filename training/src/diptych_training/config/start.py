"""Other models that a run uses: the start model (`start`) or image tower (`start_image`), locked weights
(`lock`), their adapters (`lora`) and teachers (`distill`, `text_teacher`).
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_core import PydanticCustomError

from diptych_training.config.data import PairsConfig, check_templates
from diptych_training.models.depth import TOWERS
from diptych_training.models.lora import TARGETS, Target
from diptych_training.schema import KEY, VALUE, Frozen, Probability

IMAGENET = "imagenet"  # the name of its 1,000 classes
TemplateKind = Literal["photograph", "drawing", "either"]  # what a text inside the template asks for
LAYERS: LiteralString = 'must be "all" for the whole tower, or how many of its first layers: 0, 1, 2, ...'


class StartConfig(Frozen):
    """The model that a run starts from, instead of random weights. Its tables are the defaults of the recipe.

    `source`: a version of a model repository (NAME/VERSION, or its folder), a run (its name or folder), or a
    checkpoint of open_clip, transformers or OpenAI (a folder, a file, a hub id). `which`: the checkpoint of
    a run. `tokenizer`: the tokenizer file for weights that come
    without one; the recipe must state everything else. ``start = "SOURCE"`` is short for the table.
    """

    source: str = Field(min_length=1)
    which: Literal["best", "last"] = "best"
    tokenizer: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value


class ImageStartConfig(Frozen):
    """The weights that the image tower alone starts from, trained by another library, and their licence.

    `source`: a file, or a folder or an installed Python package with one file of weights. `classes`, for a
    tower that keeps its classifier: "imagenet", or a file with the name of a class a line. `drawings`, for a
    tower of photographs and drawings: the run or version (NAME/VERSION) whose image tower, or the drawings'
    half of it, knows drawings. `clip_art`: a packed data set whose sources named `flat...` and
    `shaded...` also teach the gate of such a tower.
    ``start_image = "FILE"`` is short for the table.
    """

    source: str = Field(min_length=1)
    licence: str = Field(default="unknown", min_length=1)
    classes: str | None = Field(default=None, min_length=1)
    drawings: str | None = Field(default=None, min_length=1)
    clip_art: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @property
    def title(self) -> str:
        """The name of the file."""
        return Path(self.source).name


class LockConfig(Frozen):
    """Weights that do not change (Zhai et al. 2022, LiT): a whole tower, or its first layers, counting the
    stem.

    A locked batch normalisation also keeps its running statistics and normalises by them; `statistics` does
    this for all of them. `scale` is the learned logit scale. `cache`: the image features of a whole locked
    tower, or of the locked part for photographs, are computed once, before the first step, of images as they
    are stored, instead of in each.
    """

    image: Literal["all"] | int = 0
    text: Literal["all"] | int = 0
    scale: bool = False
    statistics: bool = False
    cache: bool = False

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, values: Any) -> Any:
        """Accept "all" or a count of layers, and no boolean."""
        for key in TOWERS if isinstance(values, Mapping) else ():
            value = values.get(key, 0)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if value != "all" and not (is_number and value >= 0):
                raise PydanticCustomError("layers", LAYERS, {KEY: key, VALUE: value})
        return values

    def check_cache(
        self,
        changes: Mapping[str, object],
        pairs: PairsConfig | None,
        others: Mapping[str, bool],
        *,
        is_part: bool = False,
    ) -> None:
        """Raise ValueError if features that are computed once would not be those of each step.

        `changes` are values by key that change images, `others` says which further messages hold. `is_part`:
        a part of the tower is locked whole, that for photographs.
        """
        if self.image != "all" and not is_part:
            raise ValueError(
                f'lock.image is {self.image}, but lock.cache needs "all": features that are computed '
                "once are those of a tower of which nothing learns"
            )
        for key, value in changes.items():
            if value:
                raise ValueError(
                    f"{key} is {value}, but lock.cache computes the features of each image once, as it is "
                    "stored: leave it out"
                )
        if pairs is not None:
            raise ValueError(
                f'data.pairs.train is "{", ".join(pairs.train)}", but lock.cache needs a packed '
                "data set: `diptych-train data pack` makes one of pairs"
            )
        for message, holds in others.items():
            if holds:
                raise ValueError(message)


class LoraConfig(Frozen):
    """Low-rank adapters of locked weights (LoRA, Hu et al. 2021), merged into checkpoints and exports.

    A locked matrix of a transformer's block learns as W + (alpha / rank) B A, where A has `rank` rows.
    `targets`: "attention" (query, key, value, output) and "mlp". Adapters learn at `optim.lr`, without
    `optim.layer_decay`.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    targets: tuple[Target, ...] = Field(default=TARGETS, min_length=1)


class DistillConfig(Frozen):
    """Distillation: learn from the mean probabilities of other models over every batch, in addition to the
    captions.

    `teachers`: runs (by name or folder; their best checkpoint) and versions of a model repository
    (NAME/VERSION or folder). The loss is ``(1 - weight) * contrastive + weight * distillation``. With
    `on = "rehearsed"`, only rehearsed items are distilled: what the start model answers on them is kept, and
    the run's own pairs are learned from their captions alone.
    """

    teachers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    weight: float = Field(default=0.5, gt=0, le=1)
    on: Literal["all", "rehearsed"] = "all"

    @field_validator("teachers")
    @classmethod
    def _each_once(cls, teachers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(teachers)) < len(teachers):
            raise ValueError("must name each teacher once")
        return teachers


class TextTeacherConfig(Frozen):
    """Distillation of the text tower from a sentence encoder, over many texts, in addition to the pairs.

    `source`: a folder of sentence-transformers or transformers, or an installed Python package that ships
    one. `texts`: files with a text a line; with `captions`, the texts of the data set too. Only the first
    `dims` numbers of the text features are taught, by default all. `centre`: a file of texts whose mean is
    the centre of the embeddings; by default the names of `start_image.classes`, or else all texts. `licence`
    is that of the teacher. With `template_probability`, a text is shown inside one of the `templates`, whose
    kinds are drawn alike: it keeps its target, and a routed text tower learns which half the words ask for.
    """

    source: str = Field(min_length=1)
    texts: tuple[str, ...] = ()
    captions: bool = True
    centre: str | None = None
    dims: PositiveInt | None = None
    weight: PositiveFloat = 1.0
    batch_size: int = Field(default=512, ge=2)
    licence: str = Field(default="unknown", min_length=1)
    template_probability: Probability = 0.0
    templates: dict[TemplateKind, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default={})

    @field_validator("texts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Accept a single name in place of a list."""
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> "TextTeacherConfig":
        if not self.texts and not self.captions:
            raise ValueError("there are no texts: name files in texts, or leave captions on")
        if self.template_probability and not self.templates:
            raise ValueError("template_probability is set, but templates is empty")
        check_templates(chain.from_iterable(self.templates.values()))
        return self

    @property
    def teaches_route(self) -> bool:
        """Whether a routed text tower learns from the templates."""
        return bool(self.template_probability and self.templates)

    def check_model(self, embed_dim: int, lock: LockConfig) -> None:
        """Raise ValueError if the text tower cannot learn from it."""
        if lock.text == "all":
            raise ValueError('lock.text is "all": a text tower that does not change cannot be taught')
        if self.dims is not None and self.dims > embed_dim:
            raise ValueError(
                f"text_teacher.dims is {self.dims}, it must be at most model.embed_dim, {embed_dim}"
            )

    @property
    def title(self) -> str:
        """The name of the package or folder."""
        return Path(self.source).name
