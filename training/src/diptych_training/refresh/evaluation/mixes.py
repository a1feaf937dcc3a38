"""Mixes of the old weights and the tuned ones, and how each of them embeds the pictures to judge by."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.embedding import Advance, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, evaluated_run
from diptych_training.evaluate.torch_encoder import Photographs
from diptych_training.refresh.evaluation.candidates import Candidates
from diptych_training.refresh.evaluation.picture_set import (
    SPLIT,
    EmbeddedSet,
    among_candidates,
    among_labels_of,
    class_rows,
    embed_set,
    judged,
    open_sets,
    score_set,
)
from diptych_training.refresh.evaluation.results import SetResult
from diptych_training.refresh.evaluation.view import OWN, SHIPPED, SetName, View, view_of
from diptych_training.train.interpolate.interpolation import interpolate_weights


@dataclass(frozen=True)
class EmbeddedMix:
    """Both sets as one mix embeds them; a set without pictures is left out."""

    sets: dict[SetName, EmbeddedSet]
    logit_scale: float


class Mixes:
    """Mixes of the `old` weights (alpha 0) and the run's (alpha 1), on the judged pictures of two data sets.

    Each mix embeds the pictures once and keeps the embeddings. `n_shipped` is the number of shipped pictures
    to judge by; None: all. With `candidates`, the own pictures are judged by these labels. The run's model
    keeps its weights. Raises EvaluationError if the shipped set has no pictures.
    """

    def __init__(
        self,
        run: TrainedRun,
        old: Mapping[str, Tensor],
        own: PackedDataset,
        shipped: PackedDataset,
        n_shipped: int | None = None,
        *,
        candidates: Candidates | None = None,
    ) -> None:
        self.run, self.old, self.own, self.shipped = run, old, own, shipped
        self._candidates = candidates
        own_set, shipped_set = open_sets([own, shipped], TextTokenizer(run.tokenizer_file, run.text_spec))
        if not len(shipped_set):
            raise EvaluationError(f"{shipped.path}: the shipped set has no pictures in split {SPLIT!r}")
        if candidates is not None:
            own_set = among_candidates(own_set, candidates, run.text_spec)
        self.own_set, self.shipped_set = own_set, shipped_set.sample(n_shipped)
        self._embedded: dict[float, EmbeddedMix] = {}
        # A part of the image tower that did not learn is the same in all mixes.
        self._photographs = Photographs() if run.config.drawing_size is not None else None

    @property
    def n_pictures(self) -> int:
        """The number of pictures that each mix embeds."""
        return len(self.own_set) + len(self.shipped_set)

    @cached_property
    def inputs(self) -> str:
        """sha256 of all that decides the results: weights, pictures and labels, and how both are prepared."""
        run, digest = self.run, sha256()
        for weights in (self.old, run.model.state_dict()):
            for name, tensor in sorted(weights.items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        for spec in (run.image_spec, run.text_spec, run.model_config):
            digest.update(spec.model_dump_json().encode())
        digest.update(run.tokenizer_file.read_bytes())
        for dataset in (self.own, self.shipped):
            listed = [(name, entry.kind) for name, entry in judged(dataset)]
            splits = {entry.split for _, entry in judged(dataset)}
            digest.update(f"{dataset.name} {listed} {[*map(dataset.digest, splits)]}".encode())
        digest.update(f"{len(self.shipped_set)} shipped".encode())
        if self._candidates is not None:
            digest.update(self._candidates.digest.encode())
        return digest.hexdigest()

    def n_to_embed(self, alphas: Iterable[float]) -> int:
        """How many pictures these mixes have not embedded yet."""
        return self.n_pictures * len({*alphas} - self._embedded.keys())

    def embed(self, alpha: float, advance: Advance) -> EmbeddedMix:
        """Embed both sets; `advance` gets the number of embedded pictures, none if they are kept.

        Raises TrainingConfigError for an alpha outside [0, 1] or other architectures.
        """
        if alpha not in self._embedded:
            with self._loaded(alpha) as model:
                sets = {
                    name: embed_set(model, pictures, advance)
                    for name, pictures in ((OWN, self.own_set), (SHIPPED, self.shipped_set))
                    if len(pictures)
                }
                self._embedded[alpha] = EmbeddedMix(sets, model.logit_scale)
        return self._embedded[alpha]

    def score_source(self, name: str, alpha: float) -> tuple[SetResult, SetResult]:
        """Score the own pictures of one source: among own labels, and among own and shipped ones."""
        with self._loaded(alpha) as model:
            own = embed_set(model, self.own_set.of_source(name), lambda _: None)
            rows = class_rows(model, self.shipped_set)
        shipped = EmbeddedSet(self.shipped_set, images=own.images[:0], class_rows=rows, text_rows=rows)
        return score_set(own), score_set(among_labels_of(own, shipped))

    def view(self, alpha: float, queries: Sequence[str], advance: Advance) -> View:
        """The mix's view of all pictures, and of these searches among them."""
        mix = self.embed(alpha, advance)
        with self._loaded(alpha) as model:
            rows = embed_texts(model.encoder, model.tokenizer, queries)  # (Q, D)
        return view_of(mix.sets, queries, rows, mix.logit_scale)

    @contextmanager
    def _loaded(self, alpha: float) -> Iterator[EvaluatedModel]:
        """The run's model with the weights of a mix; it has its own again afterwards."""
        model = self.run.model
        tuned = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        try:
            model.load_state_dict(interpolate_weights(self.old, tuned, alpha))
            yield evaluated_run(self.run, f"alpha {alpha:g}", photographs=self._photographs)
        finally:
            model.load_state_dict(tuned)
