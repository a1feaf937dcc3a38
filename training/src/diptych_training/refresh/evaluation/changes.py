"""The largest changes between the old and the new model: searches, and pictures whose best label changed."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from diptych_training.data.label_key import label_key
from diptych_training.data.packed import PackedDataset, hash_fraction
from diptych_training.evaluate.embedding import Advance
from diptych_training.refresh.evaluation.mixes import Mixes
from diptych_training.refresh.evaluation.results import read_stored, write_stored
from diptych_training.refresh.evaluation.view import Picture, View
from diptych_training.schema import Frozen

CHANGES_FILE = "changes.json"
N_SEARCHES = 8  # gained, and as many lost
N_PICTURES = 12  # gained, and as many lost
N_SHOWN = 3  # searches of the user's that are shown whatever they did
N_RESULTS = 5  # best pictures of a search


class Found(Frozen):
    """A picture that a search found; `is_right` if the query is one of its labels."""

    picture: Picture
    is_right: bool


class SearchChange(Frozen):
    """One search among all pictures, the user's and the shipped ones, with the old and the new model.

    A rank is that of the first right picture, from 1; None if no picture is right. `before` and `after` are
    the N_RESULTS best pictures.
    """

    query: str
    rank_before: int | None
    rank_after: int | None
    before: tuple[Found, ...]
    after: tuple[Found, ...]


class Answer(Frozen):
    """The best label of a picture, and its probability among the labels of its set."""

    label: str
    probability: float


class PictureChange(Frozen):
    """A picture whose best label turned from right to wrong, or from wrong to right.

    `is_right` says which. `margin` is the cosine of the new best label minus that of the best one of the
    other sort, right or wrong.
    """

    picture: Picture
    is_right: bool
    before: Answer
    after: Answer
    margin: float


class Changes(Frozen):
    """The largest changes, in lists with the largest first; `searches` are some of the user's
    captions.

    `inputs` is that of the `Evaluation`; `alpha` is that of the new model.
    """

    schema_version: Literal[1] = 1
    inputs: str
    alpha: float
    searches: tuple[SearchChange, ...]
    gained_searches: tuple[SearchChange, ...]
    lost_searches: tuple[SearchChange, ...]
    gained_pictures: tuple[PictureChange, ...]
    lost_pictures: tuple[PictureChange, ...]


def find_changes(mixes: Mixes, alpha: float, *, advance: Advance, file: Path | None = None) -> Changes:
    """Compare the old model with the mix of this alpha.

    `advance` gets the number of embedded pictures: `mixes.n_pictures` of each of the two that has not
    embedded them yet. With `file`, the changes are stored there, and read from it if it holds those of the
    same weights and data. Raises EvaluationError if `file` cannot be read.
    """
    if file is not None and file.exists():
        stored = read_stored(file, Changes)
        if (stored.inputs, stored.alpha) == (mixes.inputs, alpha):
            return stored
    captions = sample_captions(mixes.own_set.labels, mixes.own)
    queries = sorted({*mixes.own_set.labels, *mixes.shipped_set.labels, *captions})
    before, after = (mixes.view(each, queries, advance) for each in (0.0, alpha))
    gained, lost = changed_searches(before, after)
    gained_pictures, lost_pictures = changed_pictures(before, after)
    changes = Changes(
        inputs=mixes.inputs,
        alpha=alpha,
        searches=three_searches(before, after, captions),
        gained_searches=gained,
        lost_searches=lost,
        gained_pictures=gained_pictures,
        lost_pictures=lost_pictures,
    )
    if file is not None:
        write_stored(file, changes)
    return changes


def sample_captions(held_out: Sequence[str], own: PackedDataset) -> list[str]:
    """N_SHOWN captions of the user's, chosen by their hash and not by how the models do on them.

    Those of held-out pairs first, then those of pairs trained on.
    """
    texts = {label_key(item.label): item.label for source in own.sources("train") for item in source.items}
    known = set(map(label_key, held_out))
    learned = [label for key, label in texts.items() if key not in known]
    return [*sorted(held_out, key=hash_fraction), *sorted(learned, key=hash_fraction)][:N_SHOWN]


def three_searches(before: View, after: View, captions: Sequence[str]) -> tuple[SearchChange, ...]:
    """The given searches with both models."""
    return tuple(_search(before, after, before.queries.index(caption)) for caption in captions)


def changed_searches(before: View, after: View) -> tuple[tuple[SearchChange, ...], tuple[SearchChange, ...]]:
    """The searches that gained and lost most: by the change of 1 / rank of the first right picture."""
    change = 1 / (1 + after.query_ranks) - 1 / (1 + before.query_ranks)  # (Q,)
    by_change = sorted(range(len(change)), key=lambda row: (-abs(change[row]), before.queries[row]))
    gained = [_search(before, after, row) for row in by_change if change[row] > 0][:N_SEARCHES]
    lost = [_search(before, after, row) for row in by_change if change[row] < 0][:N_SEARCHES]
    return tuple(gained), tuple(lost)


def _search(before: View, after: View, row: int) -> SearchChange:
    return SearchChange(
        query=before.queries[row],
        rank_before=before.rank_of(row),
        rank_after=after.rank_of(row),
        before=_found(before, row),
        after=_found(after, row),
    )


def _found(view: View, row: int) -> tuple[Found, ...]:
    return tuple(
        Found(picture=view.pictures[at], is_right=bool(view.relevant[row, at]))
        for at in view.best_pictures(row, N_RESULTS)
    )


def changed_pictures(
    before: View, after: View
) -> tuple[tuple[PictureChange, ...], tuple[PictureChange, ...]]:
    """The pictures that turned right and those that turned wrong, each pair of labels once."""
    gained: list[PictureChange] = []
    lost: list[PictureChange] = []
    for old, new in zip(before.sets, after.sets, strict=True):
        for row, (was, is_now) in enumerate(zip(old.is_right, new.is_right, strict=True)):
            if was != is_now:
                change = PictureChange(
                    picture=new.pictures[row],
                    is_right=is_now,
                    before=Answer(label=old.best_label(row), probability=old.probability(row)),
                    after=Answer(label=new.best_label(row), probability=new.probability(row)),
                    margin=abs(float(new.margins[row])),
                )
                (gained if is_now else lost).append(change)
    return _widest(gained), _widest(lost)


def _widest(changes: Iterable[PictureChange]) -> tuple[PictureChange, ...]:
    by_labels: dict[tuple[str, str], PictureChange] = {}
    for change in sorted(changes, key=lambda one: (-one.margin, one.picture.source, one.picture.index)):
        by_labels.setdefault((change.before.label, change.after.label), change)
    return tuple(islice(by_labels.values(), N_PICTURES))
