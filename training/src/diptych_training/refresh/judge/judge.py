"""Measure the old weights, the tuned ones and mixes of both on the user's pairs and on the shipped set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.embedding import Advance
from diptych_training.refresh.judge.mixes import EmbeddedMix, Mixes
from diptych_training.refresh.judge.picture_set import SPLIT, score_set
from diptych_training.refresh.judge.results import Judged, MixResult, read_judged, write_stored
from diptych_training.refresh.judge.view import OWN, SHIPPED

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def judge(
    mixes: Mixes, alphas: Sequence[float] = ALPHAS, *, advance: Advance, file: Path | None = None
) -> Judged:
    """Measure mixes; the old weights (alpha 0) are always measured.

    `advance` gets the number of embedded pictures, `mixes.n_pictures` of each alpha. With `file`, the results
    are stored there after each mix, and mixes that it already holds for the same weights and data are not
    measured again. Raises EvaluationError if `file` cannot be read, TrainingConfigError for an alpha outside
    [0, 1] or other architectures.
    """
    judged = Judged(
        inputs=mixes.inputs,
        own=mixes.own.name,
        shipped=mixes.shipped.name,
        n_own_pairs=n_pairs(mixes.own),
        mixes=(),
    )
    wanted = sorted({0.0, *alphas})
    results = _stored_results(file, judged.inputs)
    advance(mixes.n_pictures * len(results.keys() & set(wanted)))
    for alpha in wanted:
        if alpha not in results:
            results[alpha] = _measure(mixes.embed(alpha, advance), alpha)
            if file is not None:
                write_stored(file, _with_results(judged, results, sorted(results)))
    return _with_results(judged, results, wanted)


def n_pairs(own: PackedDataset) -> int:
    """The number of the user's usable pairs, those trained on included."""
    return sum(entry.n for split in ("train", SPLIT) for _, entry in own.listed(split))


def _measure(mix: EmbeddedMix, alpha: float) -> MixResult:
    own, shipped = mix.sets.get(OWN), mix.sets[SHIPPED]
    pictures = shipped.pictures
    return MixResult(
        alpha=alpha,
        own=None if own is None else score_set(own),
        shipped=score_set(shipped),
        kinds={kind: score_set(shipped, pictures.of_kind(kind)) for kind in pictures.kinds()},
    )


def _with_results(judged: Judged, results: Mapping[float, MixResult], alphas: Sequence[float]) -> Judged:
    return judged.model_copy(update={"mixes": tuple(results[alpha] for alpha in alphas)})


def _stored_results(file: Path | None, inputs: str) -> dict[float, MixResult]:
    """The results in the file by alpha; none if it was measured with other inputs."""
    if file is None or not file.exists():
        return {}
    stored = read_judged(file)
    return {mix.alpha: mix for mix in stored.mixes} if stored.inputs == inputs else {}
