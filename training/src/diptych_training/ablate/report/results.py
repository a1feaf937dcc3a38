"""The results of an ablation as stored data."""

from typing import Literal

from pydantic import Field

from diptych_training.schema import Frozen

State = Literal["finished", "broken off", "not begun"]


class Outcome(Frozen):
    """The outcome of one variant; measurements exist once it is finished. Rates and minutes count its steps
    only.

    `differs` describes how the recipe of its run differs from the plan's current one.
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
    """All variants of a plan, the base first; `dataset` is the validation data, once a variant has begun."""

    schema_version: Literal[1] = 1
    plan: str
    recipe: str
    changes: tuple[str, ...]
    dataset: str | None
    outcomes: tuple[Outcome, ...]

    @property
    def base(self) -> Outcome:
        """The variant that all others are compared with."""
        return self.outcomes[0]

    @property
    def metrics(self) -> list[str]:
        """The names of all validation metrics of finished variants."""
        return sorted({name for outcome in self.outcomes for name in outcome.validation})
