"""Where an evaluation finds a model weakest, as limits for its card; measures nothing."""

from diptych_training.data.packed import Kind
from diptych_training.evaluate.results import KINDS, Evaluation, SourceResult
from diptych_training.evaluate.table import TITLES

N_WEAKEST: dict[Kind, int] = {"emoji": 1, "icons": 5, "pairs": 5}
NEAR = 0.05  # of top-1: what is less above its floor is hardly better than looking pixels up


def weak_spots(evaluation: Evaluation) -> str:
    """Items of a list: the sources of the lowest top-1, and those below their pixel floors or near them."""
    weakest = [words for kind in KINDS if (words := _weakest(evaluation.of_kind(kind), kind))]
    items = [f"By top-1 on `{evaluation.split}` it is weakest {'; '.join(weakest)}."] if weakest else []
    items += _floors(evaluation)
    return "".join(f"- {item}\n" for item in items)


def _weakest(results: list[SourceResult], kind: Kind) -> str:
    """Of few sources half are named at most: all of them are in a table already."""
    lowest = sorted(results, key=_top1)[: min(N_WEAKEST[kind], len(results) // 2)]
    named = ", ".join(f"`{result.source}` ({_top1(result):.3f})" for result in lowest)
    return f"of {len(results)} {TITLES[kind].lower()} on {named}" if lowest else ""


def _floors(evaluation: Evaluation) -> list[str]:
    rated = sorted(
        (_top1(result) - result.pixel_floor, _against_floor(result, result.pixel_floor))
        for result in evaluation.sources
        if result.pixel_floor is not None
    )
    groups = {
        "It is no better than the nearest training image by pixels on": [w for by, w in rated if by <= 0],
        f"Less than {100 * NEAR:.0f} points (hundredths) better than such a look-up it is on": [
            words for by, words in rated if 0 < by < NEAR
        ],
    }
    return [f"{words} {', '.join(named)}." for words, named in groups.items() if named]


def _against_floor(result: SourceResult, floor: float) -> str:
    return f"`{result.source}` ({_top1(result):.3f} against {floor:.3f})"


def _top1(result: SourceResult) -> float:
    return result.all.zero_shot[1]
