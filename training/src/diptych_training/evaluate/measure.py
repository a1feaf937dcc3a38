"""Measurement of one model on the sources of a split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from diptych.bundle.encoder import Embeddings
from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.confusions import EmbeddedSource
from diptych_training.evaluate.embedding import Advance, embed_images, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, ScoredModel
from diptych_training.evaluate.ranking import (
    RECALL_K,
    Accepted,
    accepted_labels,
    image_to_text_recall,
    recall_of_texts,
    text_to_image_recall,
)
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.evaluate.scoring import Scorer
from diptych_training.evaluate.validation import source_classes
from diptych_training.evaluate.zero_shot import Classifier, cached_classifier, top_k, zero_shot_top_k

SourceObserver = Callable[[EmbeddedSource], object]  # called with every embedded source


def ignore_source(_: EmbeddedSource) -> None:
    """The default observer: do nothing."""


@dataclass(frozen=True)
class _Candidates:
    """The candidates that images are compared with: C classes through templates (C, D), M bare labels (M,
    D).
    """

    classes: Sequence[str]
    class_rows: Embeddings
    texts: Sequence[str]
    text_rows: Embeddings


def evaluate(
    model: EvaluatedModel | ScoredModel,
    dataset: PackedDataset,
    split: Split,
    advance: Advance,
    batch_size: int = 128,
    *,
    observe: SourceObserver = ignore_source,
) -> Evaluation:
    """Measure zero-shot and retrieval on every source of the split; `advance` gets the number of embedded
    images. `observe` is not called for a model that scores names.
    """
    sources = dataset.sources(split)
    if not sources:
        others = sorted({entry.split for entry in dataset.entries.values()} - {"train"})
        raise EvaluationError(
            f"data set {dataset.name!r} has no sources in split {split!r}; "
            f"choose another one with --split: {', '.join(others) or 'there is none'}"
        )
    is_flagged = any(item.near_train for source in sources for item in source.items)
    evaluate_source = (
        partial(_evaluate_scores, model.scorer)
        if isinstance(model, ScoredModel)
        else partial(_evaluate_embeddings, model, cached_classifier(model.encoder, model.tokenizer), observe)
    )
    return Evaluation(
        model=model.name,
        runtime=model.runtime,
        dataset=dataset.name,
        split=split,
        templates=model.templates,
        sources=tuple(
            evaluate_source(source, advance=advance, batch_size=batch_size, is_flagged=is_flagged)
            for source in sources
        ),
    )


def _evaluate_scores(
    scorer: Scorer, source: PackedSource, *, advance: Advance, batch_size: int, is_flagged: bool
) -> SourceResult:
    """Measure one source by the scores that the model gives to names; `is_flagged` as below."""
    labels = [item.label for item in source.items]
    classes, texts = source_classes(source), sorted(set(labels))
    by_class, by_text = scorer(
        source.images, [(classes, True), (texts, False)], batch_size=batch_size, advance=advance
    )
    accepted = accepted_labels(source.images, labels)

    def scores(chosen: list[int]) -> Scores:
        right = [accepted[index] for index in chosen]
        return Scores(
            n_images=len(chosen),
            zero_shot=top_k(by_class[chosen], right, classes),
            text_to_image=recall_of_texts(by_text[chosen].T, right, texts),
            image_to_text=top_k(by_text[chosen], right, texts, RECALL_K),
        )

    far = _far(source, is_flagged=is_flagged)
    return SourceResult(
        source=source.name,
        kind=source.kind,
        n_classes=len(classes),
        pixel_floor=source.pixel_1nn_top1,
        all=scores(list(range(len(labels)))),
        far=scores(far) if far else None,
    )


def _far(source: PackedSource, *, is_flagged: bool) -> list[int]:
    """The images without near duplicates of training images; none if the split does not mark those."""
    return [index for index, item in enumerate(source.items) if is_flagged and not item.near_train]


def _evaluate_embeddings(
    model: EvaluatedModel,
    classifier: Classifier,
    observe: SourceObserver,
    source: PackedSource,
    *,
    advance: Advance,
    batch_size: int,
    is_flagged: bool,
) -> SourceResult:
    """Measure one source. `is_flagged`: the split marks near duplicates, so scores without them can be
    computed.
    """
    labels = [item.label for item in source.items]
    classes, texts = source_classes(source), sorted(set(labels))
    candidates = _Candidates(
        classes=classes,
        class_rows=classifier(classes, model.templates),
        texts=texts,
        text_rows=embed_texts(model.encoder, model.tokenizer, texts),
    )
    # (N, D)
    images = embed_images(
        model.encoder, source.images, model.image_spec, batch_size=batch_size, advance=advance
    )
    accepted = accepted_labels(source.images, labels)
    observe(EmbeddedSource(source, images, classes, candidates.class_rows, accepted))
    far = _far(source, is_flagged=is_flagged)
    return SourceResult(
        source=source.name,
        kind=source.kind,
        n_classes=len(classes),
        pixel_floor=source.pixel_1nn_top1,
        all=_scores(images, accepted, candidates),
        far=_scores(images[far], [accepted[index] for index in far], candidates) if far else None,
    )


def _scores(images: Embeddings, accepted: Accepted, candidates: _Candidates) -> Scores:
    return Scores(
        n_images=len(images),
        zero_shot=zero_shot_top_k(images, candidates.class_rows, accepted, candidates.classes),
        text_to_image=text_to_image_recall(images, candidates.text_rows, accepted, candidates.texts),
        image_to_text=image_to_text_recall(images, candidates.text_rows, accepted, candidates.texts),
    )
