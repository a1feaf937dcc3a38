"""The relevance of the hits of one search."""

from dataclasses import dataclass

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE, Calibration, QueryKind, how_to_calibrate
from diptych.core.types import Embedding, VersionRef
from diptych.errors import InvalidValue


@dataclass(frozen=True)
class Relevance:
    """Says how relevant the hits of one kind of query are, and leaves out those below `min_relevance`.

    `calibration` is that of the version; None where there is none, and relevance is unknown.
    """

    calibration: Calibration | None = None
    kind: QueryKind = "text"
    min_relevance: float | None = None

    def require_usable(self, ref: VersionRef, name: str = "min_relevance") -> None:
        """Raise InvalidValue naming `name` for a bound on a relevance that is unknown: ignoring it would be
        silent.
        """
        if self.min_relevance is None:
            return
        if self.calibration is None:
            raise InvalidValue(
                f"{ref} is not calibrated, so that hits have no relevance: {how_to_calibrate(str(ref))}", name
            )
        if (reason := self.calibration.without(self.kind)) is not None:
            raise InvalidValue(f"hits of {self.kind} queries have no relevance by {ref}: {reason}", name)

    def of(self, query: Embedding, cosines: Embedding, best: float, n_images: int) -> list[float] | None:
        """The relevance of hits with these cosines (K,), as `Calibration.relevance`; None if unknown."""
        if self.calibration is None or not len(cosines):
            return None
        found = self.calibration.relevance(self.kind, query, cosines, best=best, n_images=n_images)
        return None if found is None else found.tolist()

    def shows(self, relevance: float | None) -> bool:
        """Whether a hit with this relevance is shown."""
        return relevance is None or self.min_relevance is None or relevance >= self.min_relevance

    def fits(self, relevance: float | None) -> bool:
        """Whether a hit with this relevance may fit; true where it is unknown."""
        least = RECOMMENDED_RELEVANCE if self.min_relevance is None else self.min_relevance
        return relevance is None or relevance >= least
