"""A small report on random pictures, with hostile captions if asked for."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from diptych_training.refresh.evaluation.changes import Answer, Changes, Found, PictureChange, SearchChange
from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.evaluation.results import Evaluation, MixResult, SetResult
from diptych_training.refresh.evaluation.view import Picture, SetName
from diptych_training.refresh.report.content import Content
from support.picture_sets import write_pictures

DAY = date(2026, 3, 9)


def set_result(hits: Sequence[bool], captions: Sequence[int] | None = None) -> SetResult:
    """A set of pictures, each right or not; every picture has a caption of its own if none are given."""
    share = sum(hits) / len(hits)
    recalls = {1: share, 5: 0.9, 10: 1.0}
    return SetResult(
        n_labels=10,
        ranks=tuple(0 if hit else 9 for hit in hits),
        captions=tuple(range(len(hits)) if captions is None else captions),
        text_to_image=recalls,
        image_to_text=recalls,
    )


def first_right(n_right: int, n: int = 100) -> list[bool]:
    """`n` pictures of which the first `n_right` are right."""
    return [index < n_right for index in range(n)]


def evaluation(
    own: Mapping[float, int | Sequence[bool] | None],
    shipped: Mapping[float, int],
    n_own_pairs: int = 400,
    photographs: Mapping[float, int] | None = None,
    own_captions: Sequence[int] | None = None,
) -> Evaluation:
    """Mixes by alpha.

    `own`: the number of right ones of 100 own pictures, or the hits. `shipped`: the percentage of right ones
    of 1,000 shipped drawings. `photographs`: how many are right of 198 crops of 9 photographs, by default
    all. `own_captions`: a number for each own picture, by default all different.
    """
    crops = [index % 9 for index in range(198)]
    mixes = []
    for alpha, right in own.items():
        hits = first_right(right) if isinstance(right, int) else right
        n_photographs = 198 if photographs is None else photographs[alpha]
        drawings = set_result(first_right(10 * shipped[alpha], 1000))
        shot = set_result(first_right(n_photographs, 198), crops)
        mixes.append(
            MixResult(
                alpha=alpha,
                own=None if hits is None else set_result(hits, own_captions),
                own_among_all=None if hits is None else set_result(hits, own_captions),
                shipped=set_result([*drawings.hits(), *shot.hits()]),
                parts={"drawings": drawings, "photographs": shot},
            )
        )
    return Evaluation(
        inputs="0" * 64,
        own="mine",
        shipped="proof",
        n_own_pairs=n_own_pairs,
        n_photographs=9,
        mixes=tuple(mixes),
    )


def small_report(folder: Path, *, size: int = 32, caption: str = "red star", n: int = 3) -> Content:
    """A report whose lists have `n` entries each; every caption contains the given one."""
    labels = [f"{caption} {index}" for index in range(max(6, n))]
    own = write_pictures(folder / "mine", {"held-out": ("validation", "pairs", labels)}, size=size)
    shipped = write_pictures(folder / "proof", {"emoji": ("validation", "emoji", labels)}, size=size, seed=1)
    measured = evaluation(
        {0: 20, 0.25: 30, 0.5: 60, 0.75: 70, 1: 75}, {0: 80, 0.25: 80, 0.5: 78, 0.75: 74, 1: 60}
    )
    choice = choose_alpha(measured)
    searches = tuple(_search(labels, index) for index in range(n))
    return Content(
        name="mine/1",
        old_name="pictograms/5",
        day=DAY,
        evaluation=measured,
        choice=choice,
        changes=Changes(
            inputs=measured.inputs,
            alpha=choice.alpha,
            searches=searches[:3],
            gained_searches=searches,
            lost_searches=searches,
            gained_pictures=tuple(_picture("own", "held-out", labels, index, True) for index in range(n)),
            lost_pictures=tuple(_picture("shipped", "emoji", labels, index, False) for index in range(n)),
        ),
        own=own,
        shipped=shipped,
        pairs="100 pairs, 2 unreadable",
        recipe='name = "mine"\n[run]\nsteps = 60\n',
    )


def _search(labels: list[str], index: int) -> SearchChange:
    found = tuple(
        Found(picture=Picture(set="own", source="held-out", index=at, label=labels[at]), is_right=at == index)
        for at in range(5)
    )
    return SearchChange(query=labels[index], rank_before=4, rank_after=1, before=found[::-1], after=found)


def _picture(whose: SetName, source: str, labels: list[str], index: int, is_right: bool) -> PictureChange:
    return PictureChange(
        picture=Picture(set=whose, source=source, index=index, label=labels[index]),
        is_right=is_right,
        before=Answer(label=f"{labels[index]} before", probability=0.25),
        after=Answer(label=f"{labels[index]} after", probability=0.75),
        margin=0.1,
    )
