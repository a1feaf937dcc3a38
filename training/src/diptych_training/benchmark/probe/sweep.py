"""Choose the strength of regularisation on validation pictures, by a search on a logarithmic grid."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from diptych_training.benchmark.probe.logistic import Labelled, LinearClassifier, fit

STEPS_PER_DECADE = 8
LOWEST, HIGHEST = -6 * STEPS_PER_DECADE, 6 * STEPS_PER_DECADE  # 1e-6 to 1e6
COARSEST = 2 * STEPS_PER_DECADE  # the first strengths are two decades apart
FINEST = 1


@dataclass
class Sweep:
    """Tries strengths, each once, and remembers how many validation pictures were right."""

    train: Labelled
    validation: Labelled
    n_classes: int
    _tried: dict[int, tuple[int, LinearClassifier]] = field(default_factory=dict)

    def best(self, finest: int = FINEST) -> float:
        """The strength with the most right answers; of equal ones the strongest.

        Seven strengths two decades apart are tried, then those half as far apart around the best one, down to
        `finest` steps of an eighth of a decade.
        """
        step = COARSEST
        self._try(range(LOWEST, HIGHEST + 1, step))
        while step > finest:
            step //= 2
            best = self._best_place()
            self._try(place for place in (best - step, best + step) if LOWEST <= place <= HIGHEST)
        return strength(self._best_place())

    def _try(self, places: Iterable[int]) -> None:
        """From strong to weak: the stronger a fit, the faster it is, and the next one starts there."""
        for place in sorted(set(places) - self._tried.keys(), reverse=True):
            stronger = min((other for other in self._tried if other > place), default=None)
            start = None if stronger is None else self._tried[stronger][1]
            fitted = fit(self.train, self.n_classes, strength(place), start)
            answers = fitted.scores(self.validation.features).argmax(axis=1)
            self._tried[place] = int((answers == self.validation.labels).sum()), fitted

    def _best_place(self) -> int:
        return max(self._tried, key=lambda place: (self._tried[place][0], place))


def strength(place: int) -> float:
    """The strength at a place on the grid."""
    return float(10 ** (place / STEPS_PER_DECADE))
