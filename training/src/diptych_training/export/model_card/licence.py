"""Settle which licence weights have: what is recorded for all that they learned from, and no more.

A rule of care, and no lawyer's opinion: whoever exports them may say otherwise. Reads no files.
"""

from dataclasses import dataclass

from diptych_training.provenance import Provenance

UNKNOWN = "unknown"
# Each asks for what those before it ask for, or more: nothing, notices, attribution, the same terms.
BY_STRICTNESS = (
    "CC0-1.0", "Unlicense", "0BSD", "MIT-0", "ISC", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0",
    "CC-BY-3.0", "CC-BY-4.0", "OFL-1.1", "CC-BY-SA-4.0",
)  # fmt: skip
RANKS = {name.casefold(): rank for rank, name in enumerate(BY_STRICTNESS)}
N_NAMED = 3


@dataclass(frozen=True)
class Licence:
    """A licence's identifier, or `unknown`, and how it is known; no reason where a person says it."""

    name: str
    reason: str = ""

    def sentence(self) -> str:
        """For a card."""
        if self.name == UNKNOWN:
            return f"The licence of the weights is unknown{f': {self.reason}' if self.reason else ''}."
        return f"The weights are published under {self.name}{f': {self.reason}' if self.reason else ''}."


def recorded_licence(learned: Provenance | None) -> Licence:
    """That of all sources, or the strictest of theirs. `unknown` where one is not recorded, or where none is
    known to be the strictest."""
    if learned is None:
        return Licence(UNKNOWN, "the run does not record what it learned from")
    licences = learned.licences()
    silent = [source for source, licence in licences.items() if licence in (None, "", UNKNOWN)]
    if silent:
        return Licence(UNKNOWN, f"none is recorded for {_named([f'`{source}`' for source in silent])}")
    names = {licence.casefold(): licence for licence in licences.values() if licence is not None}
    if len(names) == 1:
        return Licence(next(iter(names.values())), "the licence of all that they learned from")
    if not names.keys() <= RANKS.keys():
        known = _named(sorted(names.values()))
        return Licence(UNKNOWN, f"of those of what they learned from, {known}, none is known to be strictest")
    strictest = BY_STRICTNESS[max(RANKS[name] for name in names)]
    return Licence(strictest, "the strictest licence of what they learned from")


def _named(all_of_them: list[str]) -> str:
    n_more = len(all_of_them) - N_NAMED
    return ", ".join(all_of_them[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
