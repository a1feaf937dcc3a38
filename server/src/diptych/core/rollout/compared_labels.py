"""Compare how far two versions agree with what people said of the images of a collection."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.collections.stored.ports import VectorRows
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.labels.agreement import agreement_of
from diptych.core.labels.assigned import Assigned, Assigner, joined, unlabelled
from diptych.core.labels.label_set import LabelSet
from diptych.core.labels.ports import LabelRows, Reviewed
from diptych.core.labels.view import LabelView
from diptych.core.rollout.comparison import ComparedLabels
from diptych.core.serving.snapshot import Pair
from diptych.core.types import Embedding
from diptych.errors import InvalidValue, NotFound, Overloaded, TooLarge

AT_ONCE = 1_000  # images whose vectors are read and labelled at a time
SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class LabelComparer:
    """Compares the labels that two versions give to reviewed images, by the vectors that both have stored."""

    labels: LabelRows
    vectors: VectorRows

    async def __call__(self, c: int, old: Pair, new: Pair, pace: Pace) -> list[ComparedLabels]:
        """Compare each label set of a collection in which images were reviewed, by name.

        Raises NotFound for the collection, NotReady, EncoderFailed, StoreError.
        """
        found = []
        for label_set in await self.labels.list(c):
            try:
                reviewed = await self.labels.reviewed(c, label_set.name)
            except NotFound:
                continue  # it was dropped since
            if reviewed.verdicts:
                agrees_old, agrees_new = await self._agrees(reviewed, (old, new), pace)
                found.append(compared(label_set.name, agrees_old, agrees_new))
        return [one for one in found if one.n]

    async def _agrees(self, reviewed: Reviewed, pairs: tuple[Pair, Pair], pace: Pace) -> list[list[bool]]:
        """Whether each version gives each image that both have a vector of the labels that a person gave it.

        A version that cannot apply the set, as it lacks its templates, agrees on none.
        """
        assigners = [await _assigner(reviewed.label_set, pair, pace) for pair in pairs]
        parts: list[list[Assigned]] = [[] for _ in pairs]
        keys = list(reviewed.verdicts)
        for start in range(0, len(keys), AT_ONCE):
            began = time.perf_counter()
            rows = [await self.vectors.of(keys[start : start + AT_ONCE], pair.identity) for pair in pairs]
            both = sorted(rows[0].keys() & rows[1].keys())
            for assigner, of, assigned in zip(assigners, rows, parts, strict=True):
                assigned.append(await _assigned(assigner, both, of))
            await pace.pause(time.perf_counter() - began, encoded_s=0)
        views = [
            await asyncio.to_thread(LabelView, reviewed, joined(assigned), pair.model)
            for assigned, pair in zip(parts, pairs, strict=True)
        ]
        return [
            [assigner is not None and _agree(given, proposed) for given, proposed in view.judged()]
            for assigner, view in zip(assigners, views, strict=True)
        ]


def _agree(given: tuple[str, ...], proposed: tuple[str, ...]) -> bool:
    return agreement_of([(given, proposed)]).images.n_agree == 1


async def _assigned(
    assigner: Assigner | None, keys: Sequence[int], rows: Mapping[int, Embedding]
) -> Assigned:
    if assigner is None or not keys:
        return unlabelled(np.array(keys, np.int64))
    return await asyncio.to_thread(assigner.assign, keys, np.stack([rows[key] for key in keys]))


async def _assigner(label_set: LabelSet, pair: Pair, pace: Pace) -> Assigner | None:
    """Embed the labels, which waits while the queue is full; None if the version cannot.

    The version then has them for its requests.
    """
    embedder = pair.version.embedder
    while True:
        began, busy_s = time.perf_counter(), embedder.busy_s
        try:
            return await Assigner.of(label_set.definition, pair.version.classifier)
        except Overloaded as error:
            await asyncio.sleep(error.retry_after_s)
        except (InvalidValue, TooLarge):
            return None
        finally:
            await pace.pause(time.perf_counter() - began, embedder.busy_s - busy_s)


def compared(label_set: str, old: Sequence[bool], new: Sequence[bool]) -> ComparedLabels:
    """Compare whether both versions agree with a person, image by image."""
    n_gained = sum(after and not before for before, after in zip(old, new, strict=True))
    n_lost = sum(before and not after for before, after in zip(old, new, strict=True))
    return ComparedLabels(
        label_set=label_set,
        n=len(old),
        n_agree_old=sum(old),
        n_agree_new=sum(new),
        n_gained=n_gained,
        n_lost=n_lost,
        agrees_less=sign_test(n_lost, n_gained + n_lost) < SIGNIFICANT,
    )


def sign_test(k: int, n: int) -> float:
    """The probability of k heads or more in n throws of a fair coin."""
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k, n + 1)
    )
    return math.fsum(map(math.exp, logs))
