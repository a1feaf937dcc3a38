"""How far the model agrees with a person's word."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

Z = 1.96  # of a 95% interval
MAX_CONFUSIONS = 100
MIN_OF_LABEL = 10  # pictures of a label that were drawn, for its accuracy


@dataclass(frozen=True)
class Share:
    """How many of n agree, with a 95% interval of the share (Wilson 1927)."""

    n: int
    n_agree: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The bounds of the share; None without any."""
        if not self.n:
            return None
        share, z2 = self.n_agree / self.n, Z * Z / self.n
        middle = (share + z2 / 2) / (1 + z2)
        half = Z * math.sqrt(share * (1 - share) / self.n + z2 / (4 * self.n)) / (1 + z2)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Confusion:
    """A label of a person and another of the model for the same images; None: no label, or none more."""

    label: str | None
    proposed: str | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """How far the model agrees with people: on whole images, by the labels of people, and where not.

    `n_unlabelled`: images to which people gave a label and the model none. The shares leave them out.
    """

    images: Share
    labels: dict[str, Share]
    confusions: list[Confusion]
    n_unlabelled: int = 0


def agreement_of(judged: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> Agreement:
    """Compare the labels of people and of the model, of one image after the other.

    An image agrees if it has the same labels; a label of a person agrees if the model says it too. The labels
    on which both do not agree are paired where there is one of each. Where the model gives no label although
    there is one, as none scores enough, it is neither right nor wrong.
    """
    n, n_agree, n_unlabelled = 0, 0, 0
    by_label, agreeing = Counter[str](), Counter[str]()
    confusions = Counter[tuple[str | None, str | None]]()
    for given, proposed in judged:
        if given and not proposed:
            n_unlabelled += 1
            confusions.update((label, None) for label in given)
            continue
        n += 1
        n_agree += set(given) == set(proposed)
        by_label.update(given)
        agreeing.update(label for label in given if label in proposed)
        missed = [label for label in given if label not in proposed]
        wrong = [label for label in proposed if label not in given]
        confusions.update(_pairs(missed, wrong))
    return Agreement(
        Share(n, n_agree),
        {label: Share(of_label, agreeing[label]) for label, of_label in by_label.items()},
        [Confusion(*pair, count) for pair, count in confusions.most_common(MAX_CONFUSIONS)],
        n_unlabelled,
    )


@dataclass(frozen=True)
class Accuracy:
    """How often the model is right on the whole collection, by pictures that were drawn at random.

    `labels`: of those that people gave to at least MIN_OF_LABEL of these pictures. `n_unlabelled`: as of
    `Agreement`.
    """

    images: Share
    labels: dict[str, Share]
    n_unlabelled: int


def accuracy_of(drawn: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> Accuracy:
    """Compare the labels of people and of the model, of pictures that were drawn at random."""
    found = agreement_of(drawn)
    enough = {label: share for label, share in found.labels.items() if share.n >= MIN_OF_LABEL}
    return Accuracy(found.images, enough, found.n_unlabelled)


def _pairs(missed: list[str], wrong: list[str]) -> list[tuple[str | None, str | None]]:
    if len(missed) == len(wrong) == 1:
        return [(missed[0], wrong[0])]
    return [*((label, None) for label in missed), *((None, label) for label in wrong)]
