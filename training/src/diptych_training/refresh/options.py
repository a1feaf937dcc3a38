"""What the user of `diptych-train refresh` asked for, and where things are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych_training.refresh.judge.choose import MAX_LOSS
from diptych_training.refresh.pairs.prepare import PairsOptions
from diptych_training.train.train_run import AUTO

Say = Callable[[str], object]  # receives lines for the user


@dataclass(frozen=True)
class Places:
    """Where models and runs are kept."""

    model_repo: Path
    runs_dir: Path

    @property
    def repository(self) -> ModelRepository:
        """The model repository."""
        return ModelRepository(self.model_repo)


@dataclass(frozen=True)
class RefreshOptions:
    """What the user asked for. One field a flag, which is why there are many.

    `start` is NAME or NAME/VERSION of the repository; None: the newest version of `name`, or else the default
    model. `recipe` is a file in place of the chosen recipe.
    `alpha` is the weight of the mix, None to choose it. `max_loss`: points of top-1 on the shipped set that
    may be lost; `shipped_pictures`: how many pictures of that set judge, None: by the number of pairs.
    `half_weights`: whether weights are stored as float16; None: as the start stores its own.
    `old_data`: where the data set may be that the old model was trained on.
    """

    sources: tuple[str, ...]
    name: str
    start: str | None
    pairs: PairsOptions
    old_data: Path
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    alpha: float | None = None
    max_loss: float = MAX_LOSS
    shipped_pictures: int | None = None
    half_weights: bool | None = None
    licence: str | None = None
    device: str = AUTO
    again: bool = False
    only_look: bool = False
