"""A run whose text tower learns from a sentence encoder, from its recipe to its folder."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, DiptychError, ImportFailed, TrainingConfigError
from diptych_training.export.model_card.training_notes import dataset_notes
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.batch import TeacherBatch
from diptych_training.train.metrics_log import read_metrics
from diptych_training.train.text_teacher.sentence_encoder import SentenceEncoder, open_sentence_encoder
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts
from diptych_training.train.text_teacher.text_space import TextSpace
from diptych_training.train.train_run import prepare, train_run
from support.sentence_encoders import WIDTH, WORDS, write_sentence_encoder
from support.small_recipe import small_recipe, write_small_recipe
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn")

DIMS, BATCH_SIZE = 6, 16
TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS]
LABELS = {f"thing {number}" for number in range(20)}  # of the data set


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


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


def test_captions_of_the_data_are_taught_too(dataset: PackedDataset, home: Path) -> None:
    both = begin(recipe(home, captions=True), dataset, home / "both").texts
    assert set(both) - set(TEXTS) >= LABELS
    assert set(begin(recipe(home, captions=True, texts=[]), dataset, home / "one").texts) >= LABELS


def test_targets_are_the_embeddings_in_the_space_of_the_run(dataset: PackedDataset, home: Path) -> None:
    teacher_texts = begin(recipe(home), dataset, home / "run")
    embeddings = open_sentence_encoder(str(home / "mini")).embed(TEXTS)
    expected = torch.from_numpy(TextSpace.fit(embeddings, DIMS).of(embeddings))
    assert teacher_texts.targets.shape == (len(TEXTS), DIMS)
    assert (teacher_texts.targets.float() * expected).sum(dim=1).min() > 0.999
    again = torch.from_numpy(teacher_texts.space.of(embeddings))
    assert (teacher_texts.targets.float() * again).sum(dim=1).min() > 0.999


def test_the_centre_can_be_a_file_of_texts(dataset: PackedDataset, home: Path) -> None:
    (home / "centre.txt").write_text("cat\ndog\n")
    teacher_texts = begin(recipe(home, centre=str(home / "centre.txt")), dataset, home / "run")
    mean = open_sentence_encoder(str(home / "mini")).embed(["cat", "dog"]).mean(axis=0)
    assert teacher_texts.space.mean == pytest.approx(mean, abs=1e-3)


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


def test_a_second_run_embeds_nothing_again(
    dataset: PackedDataset, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(recipe(home), dataset, home / "first")
    monkeypatch.setattr(SentenceEncoder, "embed", None)
    assert torch.equal(begin(recipe(home), dataset, home / "second").targets, first.targets)


def test_teacher_and_licence_are_recorded(dataset: PackedDataset, home: Path) -> None:
    trained(recipe(home), dataset, home / "run")
    run = load_run(home / "run")
    assert run.provenance is not None
    assert run.provenance.licences()["teacher mini"] == "Apache-2.0"
    assert run.history["taught_by"] == ["mini"]
    assert "sentence encoder `mini` (`text_teacher`), over `texts.txt`." in dataset_notes(run)


def test_another_start_without_a_teacher_leaves_none(dataset: PackedDataset, home: Path) -> None:
    begin(recipe(home), dataset, home / "run")
    prepare(small_recipe(), dataset, home / "run", resume=False).log.close()
    assert not RunFolder(home / "run").teacher_texts_file.exists()


def test_a_run_without_its_texts_is_incomplete(dataset: PackedDataset, home: Path) -> None:
    trained(recipe(home), dataset, home / "run", until=3)
    file = RunFolder(home / "run").teacher_texts_file
    for damage in (lambda: file.write_bytes(b"?"), file.unlink):
        damage()
        with pytest.raises(CheckpointError, match=r"texts\.safetensors has no texts of a teacher"):
            prepare(recipe(home), dataset, home / "run", resume=True)


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


def test_more_numbers_than_the_teacher_has_are_refused(dataset: PackedDataset, home: Path) -> None:
    model = small_recipe().model.model_copy(update={"embed_dim": WIDTH + 8})
    config = recipe(home, dims=None).model_copy(update={"model": model})
    with pytest.raises(TrainingConfigError, match=f"dims is {WIDTH + 8}: .* have {WIDTH} numbers"):
        begin(config, dataset, home / "run")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"objective": {"kind": "bag_of_words"}}, "bag_of_words.*no text tower to teach"),
        ({"lock": {"text": "all"}}, "a text tower that does not change cannot be taught"),
        ({"text_teacher": {"source": "any", "dims": 9}}, r"dims is 9, .* model\.embed_dim, 8"),
        ({"text_teacher": {"source": "any", "captions": False}}, "there are no texts"),
    ],
)
def test_contradictions_are_refused(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small_recipe(**{"text_teacher": {"source": "any"}, **tables})


def test_the_table_is_read_and_written_as_a_recipe(home: Path) -> None:
    config = recipe(home)
    assert read_config(write_small_recipe(home / "small.toml", config)) == config
