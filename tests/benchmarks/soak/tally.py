"""Count what comes of requests until somebody takes the counts away; knows no request."""

from collections import Counter, defaultdict

from benchmarks.soak.samples import ByStatus, Counts
from benchmarks.soak.steps import step_of

TOLD = 10  # of what went wrong in a second; the rest is only counted
TOLD_CHARS = 400


class Tally:
    """Used from one event loop. `n_good` and `n_hostile` are never taken away."""

    def __init__(self) -> None:
        self.n_good = self.n_hostile = self.n_failed = self.n_wrong = self.n_refused = 0
        self._begin()

    def good(self, kind: str, status: str, ms: float) -> None:
        """An answer to a good request, or what came instead of one."""
        self.n_good += 1
        self._good[kind][status] += 1
        if status == "429":
            self.n_refused += 1
        else:
            self._ms[kind][step_of(ms)] += 1

    def hostile(self, kind: str, status: str) -> None:
        """What became of a hostile one."""
        self.n_hostile += 1
        self._hostile[kind][status] += 1

    def fail(self, words: str) -> None:
        """A good request was not answered as it must be."""
        self.n_failed += 1
        self._n_failed += 1
        self._tell(f"failed: {words}")

    def wrong(self, words: str) -> None:
        """A hostile one was not."""
        self.n_wrong += 1
        self._n_wrong += 1
        self._tell(f"wrong: {words}")

    def cosine(self, cosine: float) -> None:
        """Of a vector to the one that its item had alone."""
        self._lowest_cosine = min(self._lowest_cosine, cosine)

    def take(self) -> Counts:
        """What was counted since the last time."""
        counts = Counts(
            _plain(self._good),
            _plain(self._hostile),
            _plain(self._ms),
            self._n_failed,
            self._n_wrong,
            self._told,
            self._lowest_cosine,
        )
        self._begin()
        return counts

    def _begin(self) -> None:
        self._good: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._hostile: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._ms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._n_failed = self._n_wrong = 0
        self._told: list[str] = []
        self._lowest_cosine = 1.0

    def _tell(self, words: str) -> None:
        if len(self._told) < TOLD:
            self._told.append(words[:TOLD_CHARS])


def _plain(counts: defaultdict[str, Counter[str]]) -> ByStatus:
    return {kind: dict(found) for kind, found in counts.items()}
