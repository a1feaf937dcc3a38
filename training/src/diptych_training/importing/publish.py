"""Make a checkpoint the next version of a model: read, write, prove, gate, publish; prints nothing."""

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
from diptych_training.export.model_card.card import CARD_FILE, DATA_CARD_FILE
from diptych_training.export.onnx.bundle_files import IMAGE_FILE, TEXT_FILE, write_weights
from diptych_training.export.onnx.towers import write_image_graph, write_text_graph
from diptych_training.export.precisions import Made, Workshop, make_precisions
from diptych_training.export.proof.photo_sample import PIXELS_FILE
from diptych_training.export.proof.prove import Proof
from diptych_training.export.proof.texts import awkward_texts, ordinary_texts
from diptych_training.importing.card import import_card
from diptych_training.importing.common.imported_model import ImportedModel
from diptych_training.importing.manifest import Facts, ImportStatement, draft_of, facts_of
from diptych_training.importing.proof import calibration_on_photographs, proof_by_library
from diptych_training.importing.source import Source
from diptych_training.importing.text_differences import (
    TextDifferences,
    measure_differences,
    require_equal_ids,
)
from diptych_training.models import CLIP
from diptych_training.stages import Stages, Watcher, files_table


@dataclass(frozen=True)
class Imported:
    """What is left when the float32 files are written and the torch model was let go."""

    facts: Facts
    differences: TextDifferences
    proof: Proof


def import_checkpoint(
    find: Callable[[], Source], repository: ModelRepository, statement: ImportStatement, watcher: Watcher
) -> int:
    """Publish the checkpoint that `find` finds as the next version of `statement.name`: its number.

    Raises ImportFailed if it cannot be read as what it is or its tokenizer is not its library's,
    ParityFailed if the float32 graphs do not follow the library and the statement is not `ungated`;
    nothing is published then, and nothing is left behind.
    """
    stages = Stages(watcher)
    with stages.stage("find"):
        source = find()
    with repository.staging(statement.name) as folder, _naming_full_disk(folder):
        imported = read_and_write(source, folder, statement, watcher, stages)
        data_card = _copy_data_card(source, folder)
        make_draft = partial(draft_of, imported.facts, imported.differences, statement, data_card)
        prepare = partial(calibration_on_photographs, folder, imported.facts.image, imported.facts.text)
        workshop = Workshop(
            folder=folder,
            proof=imported.proof,
            make_draft=make_draft,
            calibration=cache(prepare),
            ungated=statement.ungated,
            optimise=statement.optimise,
        )
        made = make_precisions(workshop, statement.precisions, watcher, stages)
        with stages.stage("golden items and card"):
            draft = _finish(folder, imported, statement, made, make_draft(made.published))
        watcher.say(f"{stages.table()}\n\n{files_table(folder)}")
        return repository.publish(statement.name, folder, draft)


def read_and_write(
    source: Source, folder: Path, statement: ImportStatement, watcher: Watcher, stages: Stages
) -> Imported:
    """Read the checkpoint, write its float32 files, and embed the proof's sample with its own library.

    The torch model lives in here only: later stages hold one onnxruntime session instead of both.
    """
    with stages.stage("read"):
        model = source.load()
    with stages.stage("compare tokenizers"):
        differences = write_tokenizer(model, folder)
    with stages.stage("write image graph"):
        write_image_graph(model.model, model.image, folder / IMAGE_FILE)
    with stages.stage("write text graph"):
        write_text_graph(model.model, model.text, folder / TEXT_FILE)
    if isinstance(model.model, CLIP):  # ours: it can be trained on and exported again
        write_weights(model.model, folder)
    gc.collect()  # the exporter's graphs refer to each other, and to all weights
    with stages.stage("embed with the original library"):
        proof = proof_by_library(model, folder, statement.n_images, differences, watcher.advance)
    return Imported(facts_of(model, statement.prompts), differences, proof)


def write_tokenizer(model: ImportedModel, folder: Path) -> TextDifferences:
    """Write tokenizer.json and hold it against the library. Raises ImportFailed."""
    model.tokenizer.save(str(folder / TOKENIZER_FILE))
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, model.text)
    require_equal_ids(ordinary_texts(), tokenizer, model.library)
    return measure_differences(awkward_texts(), tokenizer, model.library)


def _finish(
    folder: Path, imported: Imported, statement: ImportStatement, made: Made, draft: ManifestDraft
) -> ManifestDraft:
    """Write what is not graphs, and drop what is not published."""
    (folder / PIXELS_FILE).unlink()
    write_golden(folder / GOLDEN_FILE, imported.proof.golden)
    card = import_card(statement, imported.facts, imported.differences, made.measured)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return draft.model_copy(update={"extra": {**draft.extra, **made.reports}})


@contextmanager
def _naming_full_disk(folder: Path) -> Iterator[None]:
    """The system's own error of a failed write names no file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PublishFailed(
            f"{folder.parent}: {error.strerror}; graphs and pixels are written there"
        ) from error


def _copy_data_card(source: Source, folder: Path) -> str:
    """What the manifest says of the data: a file where there is one."""
    if source.data_card is None:
        return f"not known here: what the weights learned from is told by their maker, see {CARD_FILE}"
    shutil.copyfile(source.data_card, folder / DATA_CARD_FILE)
    return DATA_CARD_FILE
