"""An ablation as data that is stored and read again; knows nothing of plans or run folders."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from diptych_training.errors import EvaluationError
from diptych_training.models.frozen import Frozen

State = Literal["finished", "broken off", "not begun"]


class Outcome(Frozen):
    """One variant; what was measured is there once it is finished. Rates and minutes are of its steps alone.

    `differs` says where the recipe of its run is not the one that the plan has now.
    """

    name: str
    group: str
    says: str
    changes: tuple[str, ...]
    run: str
    state: State
    step: int
    n_steps: int
    n_samples: int  # images seen up to `step`
    validation: dict[str, float] = Field(default_factory=dict)
    n_image_parameters: int | None = None
    images_per_s: float | None = None
    minutes: float | None = None
    differs: str | None = None


class Ablation(Frozen):
    """All variants of a plan, the base first; `dataset` is what they are validated on, once one has begun."""

    schema_version: Literal[1] = 1
    plan: str
    recipe: str
    changes: tuple[str, ...]
    dataset: str | None
    outcomes: tuple[Outcome, ...]

    @property
    def base(self) -> Outcome:
        """What all others are held against."""
        return self.outcomes[0]

    @property
    def metrics(self) -> list[str]:
        """The names of all validation figures that a finished variant has."""
        return sorted({name for outcome in self.outcomes for name in outcome.validation})

    def finished(self) -> list[Outcome]:
        """The variants whose runs came to their end."""
        return [outcome for outcome in self.outcomes if outcome.state == "finished"]


def read_ablation(path: Path) -> Ablation:
    """An ablation that `diptych-train ablate` wrote. Raises EvaluationError naming file and key."""
    try:
        return Ablation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(whole file)"
        raise EvaluationError(f"{path}: {key}: {first['msg']}") from error
