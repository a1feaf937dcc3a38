"""One file of the hostile corpus and the statuses that a server may return."""

from dataclasses import dataclass

GOOD = frozenset({200})
DAMAGED = frozenset({422})
TOO_LARGE = frozenset({413})
FOREIGN = frozenset({415})
# Damage that a decoder may miss, or, in a TIFF, report as an unsupported kind.
EITHER = GOOD | DAMAGED
ANY = GOOD | DAMAGED | TOO_LARGE | FOREIGN


@dataclass(frozen=True)
class Hostile:
    """A hostile file. `statuses` are the correct ones, usually one. A `heavy` file takes up to seconds."""

    name: str
    payload: bytes
    statuses: frozenset[int]
    heavy: bool = False
