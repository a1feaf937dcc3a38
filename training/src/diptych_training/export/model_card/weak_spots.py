"""The sources on which an evaluation finds a model weakest, as limits for its card."""

from diptych_training.data.packed import Kind
from diptych_training.evaluate.results import KINDS, Evaluation, SourceResult
from diptych_training.evaluate.table import TITLES

N_WEAKEST: dict[Kind, int] = {"emoji": 1, "icons": 5, "pairs": 5}
NEAR = 0.05  # top-1 margin below which a source is hardly better than its pixel floor


def weak_spots(evaluation: Evaluation) -> str:
    """List items: the sources with the lowest top-1, and those below or near their pixel floors."""
    weakest = [words for kind in KINDS if (words := _weakest(evaluation.of_kind(kind), kind))]
    items = [f"Lowest top-1 on `{evaluation.split}`: {'; '.join(weakest)}."] if weakest else []
    items += _floors(evaluation)
    return "".join(f"- {item}\n" for item in items)


def _weakest(results: list[SourceResult], kind: Kind) -> str:
    """The lowest sources of a kind, at most half of them: a table already lists all."""
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
        "No better than the nearest training image by pixels on": [w for by, w in rated if by <= 0],
        f"Less than {100 * NEAR:.0f} points (hundredths) better than the nearest training image on": [
            words for by, words in rated if 0 < by < NEAR
        ],
    }
    return [f"{words} {', '.join(named)}." for words, named in groups.items() if named]


def _against_floor(result: SourceResult, floor: float) -> str:
    return f"`{result.source}` ({_top1(result):.3f} against {floor:.3f})"


def _top1(result: SourceResult) -> float:
    return result.all.zero_shot[1]
