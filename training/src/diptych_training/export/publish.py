"""Make a training run the next version of a model: write, prove, gate, publish; prints nothing."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.bundle.golden import check_golden, write_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE, Parity
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text import TextTokenizer
from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.card import CARD_FILE, DATA_CARD_FILE, model_card
from diptych_training.export.draft import PRECISION, Statement, make_draft
from diptych_training.export.evaluated import require_evaluation_of
from diptych_training.export.files import IMAGE_FILE, TEXT_FILE, write_model_files
from diptych_training.export.gate import parity_table, require_parity
from diptych_training.export.proof import Reference, golden_of, prove_parity


@dataclass(frozen=True)
class Watcher:
    """Who is told how far an export is: `say` a finished stage, `advance` by images embedded."""

    say: Callable[[str], object]
    advance: Callable[[int], object]


def export_run(
    run: TrainedRun,
    dataset: PackedDataset,
    repository: ModelRepository,
    statement: Statement,
    watcher: Watcher,
) -> int:
    """Publish the run as the next version of `statement.name` and return that version.

    Raises ExportError if the statement's evaluation is not of this run,
    ParityFailed if the exported files do not follow the model and the statement is not `ungated`,
    GoldenMismatch if this machine does not reproduce its own reference; nothing is published then.
    """
    if statement.evaluation is not None:
        require_evaluation_of(run, statement.checkpoint, dataset, statement.evaluation)
    with repository.staging(statement.name) as folder:
        write_model_files(run, folder)
        watcher.say("graphs, weights and tokenizer are written")
        reference = Reference(TorchEncoder(run.model, run.image_spec), run.image_spec, run.text_spec)
        parity = prove_parity(folder, reference, dataset, watcher.advance)
        watcher.say(parity_table({PRECISION: parity}))
        draft = make_draft(run, dataset, statement, parity)
        if not statement.ungated:
            require_parity(parity, PRECISION)
        golden = golden_of(folder, reference, dataset)
        write_golden(folder / GOLDEN_FILE, golden)
        if not statement.ungated:
            check_golden(golden, draft, PRECISION, _tokenizer(folder, run), _encoder(folder))
        _write_cards(folder, run, dataset, statement, parity)
        return repository.publish(statement.name, folder, draft)


def _write_cards(
    folder: Path, run: TrainedRun, dataset: PackedDataset, statement: Statement, parity: Parity
) -> None:
    data_card = dataset.path / "CARD.md"
    if not data_card.is_file():
        raise ExportError(f"{data_card} is missing: a bundle must say what its weights learned from")
    shutil.copyfile(data_card, folder / DATA_CARD_FILE)
    card = model_card(
        statement.name,
        run,
        dataset,
        {PRECISION: parity},
        statement.evaluation,
        checkpoint=statement.checkpoint,
        licence=statement.licence,
        ungated=statement.ungated,
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _tokenizer(folder: Path, run: TrainedRun) -> TextTokenizer:
    return TextTokenizer(folder / TOKENIZER_FILE, run.text_spec)


def _encoder(folder: Path) -> OnnxEncoder:
    return OnnxEncoder(folder / IMAGE_FILE, folder / TEXT_FILE)
