"""Plans of many runs, from TOML: ablations, which change one recipe, and studies, which have several parts.

Shipped plans are known by their name, others are files with recipes next to them.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from diptych_training.config.explain import explain
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import CONFIGS, recipe_file
from diptych_training.schema import Frozen

ABLATIONS, STUDIES = CONFIGS / "ablations", CONFIGS / "studies"
BASE = "base"  # the variant of an ablation that all others are compared with
NAME, SHORT_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$", r"^[a-z0-9][a-z0-9._-]{0,40}$"
# Keys of `run` that do not change what is learned.
CHANGEABLE_RUN_KEYS = ("n_threads", "log_every", "checkpoint_every", "validate_every")
Part = Literal["efficiency", "scaling", "prompts", "labels"]
Changes = Annotated[tuple[str, ...], Field(alias="set")]  # of a recipe, as for `train --set`
Plan = TypeVar("Plan", "AblationPlan", "StudyPlan")
PLANES = (1, 2, 4, 6)  # channels of the stages of a series by width, in widths
RATE, RATE_WIDTH = 1.5e-3, 32  # the learning rate of such a series at this width


class AblationVariant(Frozen):
    """The base with some keys changed; `says` describes them in the table."""

    name: str = Field(pattern=NAME)
    group: str = Field(min_length=1)
    says: str = Field(min_length=1)
    changes: Changes = ()


class AblationPlan(Frozen):
    """A recipe, changes that all variants share, and the variants; the first is always `base`.

    If a plan lists no variant of that name, `base` is the recipe with the shared changes only.
    """

    name: str = Field(pattern=NAME)
    base: str  # the name or file of a recipe, as for `train`
    changes: Changes = ()
    variants: tuple[AblationVariant, ...]

    @field_validator("variants")
    @classmethod
    def _base_first(cls, variants: tuple[AblationVariant, ...]) -> tuple[AblationVariant, ...]:
        _require_unique(variants)
        plain = AblationVariant(name=BASE, group=BASE, says="the variant that all others are compared with")
        base = [variant for variant in variants if variant.name == BASE] or [plain]
        return (*base, *(variant for variant in variants if variant.name != BASE))

    def run_name(self, variant: AblationVariant) -> str:
        """The name of a variant's run."""
        return f"{self.name}-{variant.name}"

    def overrides(self, variant: AblationVariant) -> tuple[str, ...]:
        """All changes of a variant's recipe, in the order in which they are applied."""
        return (*self.changes, *variant.changes)

    def relative_to(self, folder: Path) -> "AblationPlan":
        """The plan with its recipe relative to the plan's folder."""
        return self.model_copy(update={"base": placed_recipe(self.base, folder)})


class Variant(Frozen):
    """One recipe of a part of a study; `title` is for the page."""

    name: str = Field(pattern=SHORT_NAME)
    title: str = Field(min_length=1)
    recipe: str | None = None  # instead of the part's
    changes: Changes = ()
    seeds: tuple[int, ...] | None = None  # instead of the part's


class Training(Frozen):
    """Runs of one part: each variant with each seed. `changes` are those of all variants."""

    recipe: str | None = None
    changes: Changes = ()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Training":
        _require_unique(self.variants)
        if self.recipe is None and any(variant.recipe is None for variant in self.variants):
            raise ValueError("recipe is missing: name one for all variants, or one in each")
        return self

    def relative_to(self, folder: Path) -> "Training":
        """The part with its recipes relative to the plan's folder."""

        def placed(recipe: str | None) -> str | None:
            return None if recipe is None else placed_recipe(recipe, folder)

        variants = tuple(one.model_copy(update={"recipe": placed(one.recipe)}) for one in self.variants)
        return self.model_copy(update={"recipe": placed(self.recipe), "variants": variants})


class Efficiency(Training):
    """Objectives, each trained for several numbers of steps, measured on a sample of each held-out source.

    Each of the `horizons` is a run of its own, whose rate falls to its end: a checkpoint of a longer run is
    worse, since its rate is still high. The sample of a source has at most so many `names`, and of pictures
    with these names at most so many `pictures`: some objectives take long to score a name.
    """

    horizons: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    names: PositiveInt
    pictures: PositiveInt

    @field_validator("horizons")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("horizons must rise")
        return steps


class Scaling(Training):
    """A series of models, smallest first, measured among at most so many `names` of each held-out source, and
    among all. A law is fitted without the last `predicted`, and written before these are trained.

    `widths` are variants of a ResNet in place of `variants`; the first `repeated` of them have all `seeds`,
    the others the first one.
    """

    predicted: PositiveInt = 1
    names: PositiveInt = 100

    @model_validator(mode="before")
    @classmethod
    def _of_widths(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "widths" not in values:
            return values
        rest = {key: value for key, value in values.items() if key not in ("widths", "repeated")}
        widths, n_repeated = values["widths"], values.get("repeated", 0)
        first = values.get("seeds", [0])[:1]
        seeds = [None if number < n_repeated else first for number in range(len(widths))]
        return {**rest, "variants": [of_width(width, own) for width, own in zip(widths, seeds, strict=True)]}

    @model_validator(mode="after")
    def _check_predicted(self) -> "Scaling":
        if self.predicted >= len(self.variants):
            raise ValueError(f"predicted is {self.predicted}: fewer than the {len(self.variants)} models")
        return self


def of_width(width: int, seeds: Sequence[int] | None) -> dict[str, object]:
    """The variant of a ResNet with multiples of this width: channels, heads and text tower grow with it, and
    the rate falls with its root.
    """
    channels = [width * times for times in PLANES]
    return {
        "name": f"w{width}",
        "title": f"width {width}",
        "seeds": seeds,
        "set": [
            f"model.image.width={width}",
            f"model.image.planes={channels}",
            f"model.image.heads={width // 4}",
            f"model.text.width={2 * width}",
            f"model.text.heads={width // 4}",
            f"optim.lr={RATE * math.sqrt(RATE_WIDTH / width):.3g}",
        ],
    }


class Prompts(Frozen):
    """Bundles that are measured by `benchmark` like the models of the series."""

    bundles: tuple[str, ...] = ()
    draws: PositiveInt = 3


class Labels(Training):
    """A static softmax and an objective of language, measured on names that the softmax knows, and others."""


class StudyPlan(Frozen):
    """A study. Parts that it leaves out are not run."""

    name: str = Field(pattern=SHORT_NAME)
    efficiency: Efficiency | None = None
    scaling: Scaling | None = None
    prompts: Prompts | None = None
    labels: Labels | None = None

    def relative_to(self, folder: Path) -> "StudyPlan":
        """The plan with its recipes relative to the plan's folder."""
        parts = {name: getattr(self, name) for name in ("efficiency", "scaling", "labels")}
        found = {name: part.relative_to(folder) for name, part in parts.items() if part is not None}
        return self.model_copy(update=found)


def read_ablation_plan(name_or_file: str) -> AblationPlan:
    """Read a shipped plan of that name, or else a file. Raises TrainingConfigError naming file and key."""
    return _read(name_or_file, ABLATIONS, AblationPlan)


def read_study_plan(name_or_file: str) -> StudyPlan:
    """Read a shipped plan of that name, or else a file. Raises TrainingConfigError naming file and key."""
    return _read(name_or_file, STUDIES, StudyPlan)


def plans_in(folder: Path) -> list[str]:
    """The names of the plans in a folder, such as ABLATIONS and STUDIES."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def placed_recipe(recipe: str, folder: Path) -> str:
    """A shipped recipe by its name, or else a file relative to the folder of the plan."""
    is_shipped = recipe_file(recipe) != Path(recipe)
    return recipe if is_shipped else str(folder / Path(recipe).expanduser())


def _read(name_or_file: str, shipped: Path, kind: type[Plan]) -> Plan:
    by_name = shipped / f"{name_or_file}.toml"
    path = by_name if by_name.is_file() else Path(name_or_file)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(
            f"{path}: no such plan; shipped plans: {', '.join(plans_in(shipped))}"
        ) from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: cannot read the plan: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    try:
        return kind.model_validate(values).relative_to(path.parent)
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=kind)}") from error


def _require_unique(variants: Sequence[AblationVariant | Variant]) -> None:
    duplicates = [name for name, n in Counter(one.name for one in variants).items() if n > 1]
    if duplicates:
        raise ValueError(f"variants must have unique names, but several are called {', '.join(duplicates)}")
