"""Derive the licence of weights from the licences recorded for their training data.

A cautious rule, not legal advice: the user may give another licence at export.
"""

from dataclasses import dataclass

from diptych_training.provenance import BY_STRICTNESS, RANKS, Provenance

UNKNOWN = "unknown"
N_NAMED = 3


@dataclass(frozen=True)
class Licence:
    """A licence identifier, or `unknown`, and the reason; no reason if the user gave it."""

    name: str
    reason: str = ""

    def sentence(self) -> str:
        """Sentence for a model card."""
        if self.name == UNKNOWN:
            return f"The licence of the weights is unknown{f': {self.reason}' if self.reason else ''}."
        return f"The weights are published under {self.name}{f': {self.reason}' if self.reason else ''}."


def recorded_licence(learned: Provenance | None) -> Licence:
    """The common licence of all sources, or the strictest one.

    `unknown` if a licence is not recorded, or if it is unknown which one is the strictest.
    """
    if learned is None:
        return Licence(UNKNOWN, "the run does not record what it learned from")
    licences = learned.licences()
    silent = [source for source, licence in licences.items() if licence in (None, "", UNKNOWN)]
    if silent:
        return Licence(UNKNOWN, f"none is recorded for {_named([f'`{source}`' for source in silent])}")
    names = {licence.casefold(): licence for licence in licences.values() if licence is not None}
    if len(names) == 1:
        return Licence(next(iter(names.values())), "the licence of all training data")
    if not names.keys() <= RANKS.keys():
        known = _named(sorted(names.values()))
        return Licence(UNKNOWN, f"the training data has {known}, and it is unknown which is the strictest")
    strictest = BY_STRICTNESS[max(RANKS[name] for name in names)]
    return Licence(strictest, "the strictest licence of the training data")


def _named(all_of_them: list[str]) -> str:
    n_more = len(all_of_them) - N_NAMED
    return ", ".join(all_of_them[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
