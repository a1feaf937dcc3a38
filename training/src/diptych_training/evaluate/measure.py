"""Measurement of one model on the sources of a split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diptych.bundle.encoder import Embeddings
from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.confusions import EmbeddedSource
from diptych_training.evaluate.embedding import Advance, embed_images, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.ranking import Accepted, accepted_labels
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.evaluate.retrieval import image_to_text_recall, text_to_image_recall
from diptych_training.evaluate.validation import source_classes
from diptych_training.evaluate.zero_shot import Classifier, cached_classifier, zero_shot_top_k

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
    model: EvaluatedModel,
    dataset: PackedDataset,
    split: Split,
    advance: Advance,
    batch_size: int = 128,
    *,
    observe: SourceObserver = ignore_source,
) -> Evaluation:
    """Measure zero-shot and retrieval on every source of the split; `advance` gets the number of embedded
    images.
    """
    sources = dataset.sources(split)
    if not sources:
        others = sorted({entry.split for entry in dataset.entries.values()} - {"train"})
        raise EvaluationError(
            f"data set {dataset.name!r} has no sources in split {split!r}; "
            f"choose another one with --split: {', '.join(others) or 'there is none'}"
        )
    classifier = cached_classifier(model.encoder, model.tokenizer)
    is_flagged = any(item.near_train for source in sources for item in source.items)
    return Evaluation(
        model=model.name,
        runtime=model.runtime,
        dataset=dataset.name,
        split=split,
        templates=model.templates,
        sources=tuple(
            _evaluate_source(
                model, source, classifier, advance, batch_size, observe=observe, is_flagged=is_flagged
            )
            for source in sources
        ),
    )


def _evaluate_source(
    model: EvaluatedModel,
    source: PackedSource,
    classifier: Classifier,
    advance: Advance,
    batch_size: int,
    *,
    observe: SourceObserver,
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
    far = [index for index, item in enumerate(source.items) if is_flagged and not item.near_train]
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
