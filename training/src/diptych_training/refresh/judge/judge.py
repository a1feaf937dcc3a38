"""Measure the old weights, the tuned ones and mixes of both on the user's pairs and on the shipped set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.embedding import Advance
from diptych_training.evaluate.evaluated_model import EvaluatedModel, evaluated_run
from diptych_training.finetune.interpolation import interpolate_weights
from diptych_training.refresh.judge.picture_set import SPLIT, PictureSet, embed_set, open_sets, score_set
from diptych_training.refresh.judge.results import Judged, MixResult, read_judged, write_stored

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ModelAt = Callable[[float], EvaluatedModel]


def judge(
    run: TrainedRun,
    old: Mapping[str, Tensor],
    own: PackedDataset,
    shipped: PackedDataset,
    alphas: Sequence[float] = ALPHAS,
    *,
    advance: Advance,
    file: Path | None = None,
) -> Judged:
    """Measure mixes of the `old` weights (alpha 0, always measured) and the run's (alpha 1).

    Both data sets are measured on split `validation`; `own` may have none. `advance` gets the number of
    embedded pictures, `n_judged` of each alpha. With `file`, the results are stored there after each mix,
    and mixes that it already holds for the same weights and data are not measured again. Raises
    EvaluationError if the shipped set has no pictures or `file` cannot be read, TrainingConfigError for an
    alpha outside [0, 1] or other architectures.
    """
    own_set, shipped_set = opened(run, own, shipped)
    judged = Judged(
        inputs=inputs_digest(run, old, own, shipped),
        own=own.name,
        shipped=shipped.name,
        n_own_pairs=sum(entry.n for split in ("train", SPLIT) for _, entry in own.listed(split)),
        mixes=(),
    )
    mixes = _stored_mixes(file, judged.inputs)
    wanted = sorted({0.0, *alphas})
    with mixed_weights(run, old) as model_at:
        for alpha in wanted:
            if alpha in mixes:
                advance(len(own_set) + len(shipped_set))
                continue
            mixes[alpha] = _measure(model_at(alpha), alpha, own_set, shipped_set, advance)
            if file is not None:
                write_stored(file, _with_mixes(judged, mixes, sorted(mixes)))
    return _with_mixes(judged, mixes, wanted)


def n_judged(own: PackedDataset, shipped: PackedDataset) -> int:
    """The number of pictures that `judge` embeds for each alpha."""
    return sum(entry.n for dataset in (own, shipped) for _, entry in dataset.listed(SPLIT))


def opened(run: TrainedRun, own: PackedDataset, shipped: PackedDataset) -> tuple[PictureSet, PictureSet]:
    """The user's held-out pictures and the shipped ones. Raises EvaluationError if the latter are none."""
    own_set, shipped_set = open_sets([own, shipped], TextTokenizer(run.tokenizer_file, run.text_spec))
    if not len(shipped_set):
        raise EvaluationError(f"{shipped.path}: the shipped set has no pictures in split {SPLIT!r}")
    return own_set, shipped_set


@contextmanager
def mixed_weights(run: TrainedRun, old: Mapping[str, Tensor]) -> Iterator[ModelAt]:
    """Yield a function that loads the mix of an alpha into the run's model, to embed with.

    Each call replaces the mix of the one before. The run's model has its own weights again afterwards.
    """
    tuned = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}

    def model_at(alpha: float) -> EvaluatedModel:
        run.model.load_state_dict(interpolate_weights(old, tuned, alpha))
        return evaluated_run(run, f"alpha {alpha:g}")

    try:
        yield model_at
    finally:
        run.model.load_state_dict(tuned)


def inputs_digest(
    run: TrainedRun, old: Mapping[str, Tensor], own: PackedDataset, shipped: PackedDataset
) -> str:
    """sha256 of all that decides the results: weights, pictures and labels, and how both are prepared."""
    digest = sha256()
    for weights in (old, run.model.state_dict()):
        for name, tensor in sorted(weights.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    for spec in (run.image_spec, run.text_spec, run.model_config):
        digest.update(spec.model_dump_json().encode())
    digest.update(run.tokenizer_file.read_bytes())
    for dataset in (own, shipped):
        listed = [(name, entry.kind) for name, entry in dataset.listed(SPLIT)]
        digest.update(f"{dataset.name} {listed} {dataset.digest(SPLIT)}".encode())
    return digest.hexdigest()


def _measure(
    model: EvaluatedModel, alpha: float, own: PictureSet, shipped: PictureSet, advance: Advance
) -> MixResult:
    embedded = embed_set(model, shipped, advance)
    return MixResult(
        alpha=alpha,
        own=score_set(embed_set(model, own, advance)) if len(own) else None,
        shipped=score_set(embedded),
        kinds={kind: score_set(embedded, shipped.of_kind(kind)) for kind in shipped.kinds()},
    )


def _with_mixes(judged: Judged, mixes: Mapping[float, MixResult], alphas: Sequence[float]) -> Judged:
    return judged.model_copy(update={"mixes": tuple(mixes[alpha] for alpha in alphas)})


def _stored_mixes(file: Path | None, inputs: str) -> dict[float, MixResult]:
    """The mixes in the file by alpha; none if it was measured with other inputs."""
    if file is None or not file.exists():
        return {}
    stored = read_judged(file)
    return {mix.alpha: mix for mix in stored.mixes} if stored.inputs == inputs else {}
