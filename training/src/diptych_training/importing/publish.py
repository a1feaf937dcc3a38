"""Publish a checkpoint as the next version of a model: read, write, prove, gate, publish."""

import errno
import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from diptych.bundle.golden import write_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE, ManifestDraft
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import PublishFailed
from diptych_training.errors import ImportFailed, NotConvertible
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, read_proof_set_file, write_proof_set
from diptych_training.evaluate.proof_set.photographs import proof_set_of_photographs
from diptych_training.evaluate.proof_set.photos import awkward_texts, ordinary_texts
from diptych_training.evaluate.proof_set.proof_set import N_PROOF, ProofSet
from diptych_training.export.model_card.card import CARD_FILE, DATA_CARD_FILE
from diptych_training.export.onnx.bundle_files import (
    IMAGE_FILE,
    TEXT_FILE,
    write_image_graph,
    write_text_graph,
    write_weights,
)
from diptych_training.export.precisions import ExportContext, ExportResult, make_precisions
from diptych_training.export.proof.prove import Proof
from diptych_training.importing.common.imported_model import ImportedModel
from diptych_training.importing.conversion import convert
from diptych_training.importing.manifest import (
    ImportOptions,
    ModelFacts,
    facts_of,
    import_card,
    manifest_draft,
)
from diptych_training.importing.proof import PIXELS_FILE, calibration_on_photographs, proof_by_library
from diptych_training.importing.source import Source
from diptych_training.importing.text_differences import (
    TextDifferences,
    measure_differences,
    require_equal_ids,
)
from diptych_training.stages import ProgressReporter, Stages, files_table

NO_WEIGHTS_WANTED = "it was imported with --no-weights"


@dataclass(frozen=True)
class Imported:
    """The values that are kept after the float32 files are written and the torch model is freed."""

    facts: ModelFacts
    differences: TextDifferences
    proof: Proof


def import_checkpoint(
    find: Callable[[], Source],
    repository: ModelRepository,
    options: ImportOptions,
    reporter: ProgressReporter,
) -> int:
    """Publish the checkpoint that `find` returns as the next version of `options.name`; return its number.

    Raises ImportFailed if the checkpoint cannot be read or its tokenizer gives other ids than its library,
    ParityFailed if the float32 graphs do not match the library and `options` is not `ungated`. Nothing is
    published then, and no files are left behind.
    """
    stages = Stages(reporter)
    with stages.stage("find"):
        source = find()
    with repository.staging(options.name) as folder, _name_full_disk(folder):
        imported = read_and_write(source, folder, options, reporter, stages)
        data_card = _copy_data_card(source, folder)
        make_draft = partial(manifest_draft, imported.facts, imported.differences, options, data_card)
        prepare = partial(calibration_on_photographs, folder, imported.facts.image, imported.facts.text)
        context = ExportContext(
            folder=folder,
            proof=imported.proof,
            make_draft=make_draft,
            calibration=cache(prepare),
            ungated=options.ungated,
            optimise=options.optimise,
        )
        result = make_precisions(context, options.precisions, reporter, stages)
        with stages.stage("golden items, proof set and card"):
            proof_set = _write_proof_set(source, folder, imported, options)
            draft = _finish(
                folder, imported, options, result, make_draft(result.published), proof_set=proof_set
            )
        reporter.report(f"{stages.table()}\n\n{files_table(folder)}")
        return repository.publish(options.name, folder, draft)


def read_and_write(
    source: Source, folder: Path, options: ImportOptions, reporter: ProgressReporter, stages: Stages
) -> Imported:
    """Read the checkpoint, write its float32 files, and embed the proof's sample with its own library.

    The torch model is freed on return: later stages need the memory for an onnxruntime session.
    """
    with stages.stage("read"):
        model = source.load()
    _require_dimensions(options, model.embed_dim)
    with stages.stage("compare tokenizers"):
        differences = write_tokenizer(model, folder)
    with stages.stage("write image graph"):
        write_image_graph(model.model, model.image, folder / IMAGE_FILE)
    with stages.stage("write text graph"):
        write_text_graph(model.model, model.text, folder / TEXT_FILE)
    gc.collect()  # the exporter's graphs are reference cycles that hold all weights
    with stages.stage("write weights"):
        no_weights = _write_weights(model, folder, options)
    if no_weights is not None:
        reporter.report(f"no weights to train from: {no_weights}")
    with stages.stage("embed with the original library"):
        proof = proof_by_library(model, folder, options.n_images, differences, reporter.advance)
    return Imported(facts_of(model, options.prompts, no_weights), differences, proof)


def _require_dimensions(options: ImportOptions, embed_dim: int) -> None:
    """Raises ImportFailed if embeddings cannot be cut to what the options list."""
    largest = max(options.matryoshka_dimensions, default=0)
    if largest > embed_dim:
        raise ImportFailed(f"--matryoshka-dimensions {largest}: embeddings have {embed_dim} dimensions")


def _write_weights(model: ImportedModel, folder: Path, options: ImportOptions) -> str | None:
    """Write the weights of the converted model, to train from; return the reason if there are none."""
    if not options.weights:
        return NO_WEIGHTS_WANTED
    try:
        write_weights(convert(model), folder)
    except NotConvertible as reason:
        return str(reason)
    return None


def write_tokenizer(model: ImportedModel, folder: Path) -> TextDifferences:
    """Write tokenizer.json and compare its ids with the library's. Raises ImportFailed."""
    model.tokenizer.save(str(folder / TOKENIZER_FILE))
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, model.text)
    require_equal_ids(ordinary_texts(), tokenizer, model.library)
    return measure_differences(awkward_texts(), tokenizer, model.library)


def _write_proof_set(
    source: Source, folder: Path, imported: Imported, options: ImportOptions
) -> ProofSet | None:
    """Copy the proof set of our own bundle or run, or make one of photographs and the texts of the proof.

    None for an import with fewer images than a proof needs. Raises DataError if the set to copy is damaged.
    """
    target = folder / PROOF_SET_FILE
    if source.proof_set is not None:
        shutil.copyfile(source.proof_set, target)
        return read_proof_set_file(target)
    if options.n_images < N_PROOF:
        return None
    texts = [*ordinary_texts(), *imported.differences.equal]
    proof_set = proof_set_of_photographs(imported.facts.image, N_PROOF, texts)
    write_proof_set(target, proof_set)
    return proof_set


def _finish(
    folder: Path,
    imported: Imported,
    options: ImportOptions,
    result: ExportResult,
    draft: ManifestDraft,
    *,
    proof_set: ProofSet | None,
) -> ManifestDraft:
    """Write golden items and card, and delete the proof's pixels."""
    (folder / PIXELS_FILE).unlink()
    write_golden(folder / GOLDEN_FILE, imported.proof.golden)
    card = import_card(options, imported.facts, imported.differences, result.measured, proof_set)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return draft.model_copy(update={"extra": {**draft.extra, **result.reports}})


@contextmanager
def _name_full_disk(folder: Path) -> Iterator[None]:
    """Name the folder when a disk is full: the system's error for a failed write does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PublishFailed(
            f"{folder.parent}: {error.strerror}; the import writes its graphs and pixels there"
        ) from error


def _copy_data_card(source: Source, folder: Path) -> str:
    """Copy the data card if there is one; return the manifest's `data_card`."""
    if source.data_card is None:
        return f"unknown: the training data is described by the checkpoint's author, see {CARD_FILE}"
    shutil.copyfile(source.data_card, folder / DATA_CARD_FILE)
    return DATA_CARD_FILE
