"""A run whose text tower learns from a sentence encoder, from its recipe to its folder."""

import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import read_checkpoint
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import DiptychError, ImportFailed, TrainingConfigError
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.batch import TeacherBatch
from diptych_training.train.metrics_log import read_metrics
from diptych_training.train.resume import load_tokenizer
from diptych_training.train.text_teacher.sentence_encoder import open_sentence_encoder
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts
from diptych_training.train.text_teacher.text_space import TextSpace
from diptych_training.train.train_run import prepare, train_run
from support.sentence_encoders import WORDS, write_sentence_encoder
from support.small_recipe import small_recipe

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

DIMS, BATCH_SIZE = 6, 16
TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an encoder and a file of texts, and a cache of its own."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    write_sentence_encoder(tmp_path / "mini")
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, "", *TEXTS[:5], "  a   cat "]))
    return tmp_path


def recipe(home: Path, run: dict[str, object] | None = None, **teacher: object) -> TrainConfig:
    given = {"source": str(home / "mini"), "texts": str(home / "texts.txt"), "licence": "Apache-2.0"}
    table = {**given, "captions": False, "dims": DIMS, "batch_size": BATCH_SIZE, **teacher}
    return small_recipe(text_teacher=table, run=run)


def trained(config: TrainConfig, dataset: PackedDataset, folder: Path, **how: object) -> dict[str, object]:
    """Train a run on; the tensors of its last checkpoint."""
    train_run(config, dataset, folder, **{"resume": False, "device": "cpu", "report": str, **how})
    return read_checkpoint(RunFolder(folder).last).tensors


def begin(config: TrainConfig, dataset: PackedDataset, folder: Path) -> TeacherTexts:
    loop = prepare(config, dataset, folder, resume=False)
    loop.log.close()
    return TeacherTexts.read(RunFolder(folder).teacher_texts_file)


def test_each_text_is_taught_once(dataset: PackedDataset, home: Path) -> None:
    assert begin(recipe(home), dataset, home / "run").texts == TEXTS


def test_targets_are_the_embeddings_in_the_space_of_the_run(dataset: PackedDataset, home: Path) -> None:
    teacher_texts = begin(recipe(home), dataset, home / "run")
    embeddings = open_sentence_encoder(str(home / "mini")).embed(TEXTS)
    expected = torch.from_numpy(TextSpace.fit(embeddings, DIMS).of(embeddings))
    assert teacher_texts.targets.shape == (len(TEXTS), DIMS)
    assert (teacher_texts.targets.float() * expected).sum(dim=1).min() > 0.999
    again = torch.from_numpy(teacher_texts.space.of(embeddings))
    assert (teacher_texts.targets.float() * again).sum(dim=1).min() > 0.999


def test_a_batch_has_texts_of_similar_length_and_an_epoch_has_each_once(
    dataset: PackedDataset, home: Path
) -> None:
    loop = prepare(recipe(home), dataset, home / "run", resume=False)
    n_batches = len(TEXTS) // BATCH_SIZE
    texts = TeacherTexts.read(RunFolder(home / "run").teacher_texts_file)
    row_of = {tuple(target.tolist()): row for row, target in enumerate(texts.targets.float())}

    def rows(step: int) -> list[int]:
        teacher_texts = loop.batches.make(step).teacher_texts
        assert isinstance(teacher_texts, TeacherBatch)
        assert len(teacher_texts.input_ids) == BATCH_SIZE
        return [row_of[tuple(target.tolist())] for target in teacher_texts.targets]

    epochs = [[rows(step) for step in range(first, first + n_batches)] for first in (0, n_batches)]
    for epoch in epochs:
        assert len({row for batch in epoch for row in batch}) == n_batches * BATCH_SIZE
        spans = sorted((min(sizes), max(sizes)) for sizes in ([len(TEXTS[r]) for r in b] for b in epoch))
        assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(spans))
    assert epochs[0] != epochs[1]
    assert rows(1) == epochs[0][1]
    loop.log.close()


def test_texts_inside_templates_keep_their_targets(dataset: PackedDataset, home: Path) -> None:
    templates = {"photograph": ["photo of {}"], "drawing": ["{} icon"]}
    config = recipe(home, template_probability=0.5, templates=templates)
    loop = prepare(config, dataset, home / "run", resume=False)
    taught = TeacherTexts.read(RunFolder(home / "run").teacher_texts_file)
    tokenizer = load_tokenizer(RunFolder(home / "run"), config)
    text_of = {tuple(target.tolist()): t for t, target in zip(taught.texts, taught.targets, strict=True)}
    kinds = Counter[str]()
    for step in range(8):
        batch = loop.batches.make(step).teacher_texts
        assert batch is not None
        for ids, target in zip(batch.input_ids, batch.targets.half(), strict=True):
            text = text_of[tuple(target.tolist())]
            framed = {"plain": text, "photograph": f"photo of {text}", "drawing": f"{text} icon"}
            rows = {kind: tokenizer.ids(one)[0].tolist() for kind, one in framed.items()}
            kinds.update(kind for kind, row in rows.items() if row == ids[: len(row)].tolist())
    assert kinds.total() == 8 * BATCH_SIZE
    assert kinds["plain"] > kinds["photograph"] > 15 < kinds["drawing"]
    loop.log.close()


def test_the_loss_falls_and_is_logged(dataset: PackedDataset, home: Path) -> None:
    config = recipe(home, run={"steps": 60, "validate_every": 60, "checkpoint_every": 60}, weight=2.0)
    trained(config, dataset, home / "run")
    curves = {key: [v for _, v in of] for key, of in read_metrics(home / "run" / "metrics.csv").items()}
    parts = zip(curves["loss"], curves["loss/contrastive"], curves["loss/text_teacher"], strict=True)
    for loss, contrastive, teacher_texts in parts:
        assert loss == pytest.approx(contrastive + 2 * teacher_texts, rel=1e-5)
    first, last = (sum(curves["loss/text_teacher"][at]) / 5 for at in (slice(5), slice(-5, None)))
    assert last < 0.7 * first


def test_a_resumed_run_needs_neither_teacher_nor_texts_and_ends_the_same(
    dataset: PackedDataset, home: Path
) -> None:
    whole = trained(recipe(home), dataset, home / "whole")
    trained(recipe(home), dataset, home / "parts", until=3)
    shutil.rmtree(home / "mini")
    shutil.rmtree(home / "cache")
    (home / "texts.txt").unlink()
    parts = trained(recipe(home), dataset, home / "parts", resume=True)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("teacher", "kind", "message"),
    [
        ({"source": "no_such_package"}, ImportFailed, "no_such_package is neither a folder nor"),
        ({"texts": "none.txt"}, TrainingConfigError, r"text_teacher\.texts: none\.txt cannot be read"),
        ({"centre": "none.txt"}, TrainingConfigError, r"text_teacher\.centre: none\.txt cannot be read"),
        ({"batch_size": 512}, TrainingConfigError, "169 different texts are fewer than .*batch_size, 512"),
    ],
)
def test_what_cannot_teach_is_named_and_no_run_is_left(
    dataset: PackedDataset, home: Path, teacher: dict[str, object], kind: type[DiptychError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        begin(recipe(home, **teacher), dataset, home / "run")
    assert not (home / "run").exists()
