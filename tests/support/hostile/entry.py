"""One file of the hostile corpus and the statuses that a server may answer."""

from dataclasses import dataclass

GOOD = frozenset({200})
DAMAGED = frozenset({422})
TOO_LARGE = frozenset({413})
FOREIGN = frozenset({415})
# Damage that a decoder may or may not notice; or, in a TIFF, take for a kind that it does not know.
EITHER = GOOD | DAMAGED
ANY = GOOD | DAMAGED | TOO_LARGE | FOREIGN


@dataclass(frozen=True)
class Hostile:
    """`statuses` are those that are right for it, mostly one; what is `heavy` takes up to seconds."""

    name: str
    payload: bytes
    statuses: frozenset[int]
    heavy: bool = False
