"""Port of label sets: definitions and verdicts."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from diptych.core.labels.label_set import Definition, GivenVerdict, LabelSet, NewVerdict, Verdict


@dataclass(frozen=True)
class Given:
    """Stored verdicts, in order; `unknown` are ids that no image has.

    `replaced` are ids of images that have other bytes than those that the person saw: nothing was stored.
    """

    verdicts: builtins.list[GivenVerdict]
    unknown: builtins.list[str]
    replaced: builtins.list[str]


@dataclass(frozen=True)
class Reviewed:
    """A set with the verdicts on images that exist, by key, ascending, as they are at one time.

    `n_lapsed`: verdicts on pictures that no image of the collection has now.
    """

    label_set: LabelSet
    verdicts: Mapping[int, Verdict]
    n_lapsed: int


class LabelRows(Protocol):
    """The label sets of collections. Writes are durable when they return; a read sees one commit.

    `c` is the number of a collection: raises NotFound once that is dropped, with its sets and verdicts. A
    verdict belongs to the bytes of a picture: all images of the collection that have these share it, and an
    image that is replaced by others has none.
    """

    async def list(self, c: int) -> builtins.list[LabelSet]:
        """All sets, by name."""
        ...

    async def put(self, c: int, name: str, definition: Definition, *, drops: bool) -> tuple[LabelSet, int]:
        """Create or change a set. Returns it, and how many verdicts were deleted as it does not allow them.

        Where it allows the former statement of such a one, that stands again (`Verdict.within`). Raises
        Conflict if there are verdicts to delete and not `drops`; TooLarge for a set too many. The same
        definition changes nothing.
        """
        ...

    async def drop(self, c: int, name: str) -> None:
        """Delete a set with its verdicts. Raises NotFound."""
        ...

    async def reviewed(self, c: int, name: str) -> Reviewed:
        """One set with its verdicts, of one time: its definition allows all of them. Raises NotFound."""
        ...

    async def give(self, c: int, name: str, verdicts: Sequence[NewVerdict], by: str) -> Given:
        """Store verdicts in order, in the place of earlier ones (`Verdict.in_place_of`), all or none.

        Whether a picture was drawn is known from its first verdict alone: a later one does not change it.
        Raises NotFound for the set; InvalidValue for labels that it does not allow.
        """
        ...

    async def withdraw(self, c: int, name: str, id: str) -> Verdict:
        """Withdraw the verdict on an image and return it: its former statement stands again, if it has one.

        Raises NotFound without set, image or verdict.
        """
        ...
