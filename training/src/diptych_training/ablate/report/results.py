"""An ablation as data that is stored; knows nothing of plans or run folders."""

from typing import Literal

from pydantic import Field

from diptych_training.schema import Frozen

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
