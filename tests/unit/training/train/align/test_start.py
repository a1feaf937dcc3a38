"""A run that begins with towers which others trained: a classifier, a sentence encoder, a drawings' tower."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer

from diptych.bundle.repository import SHIPPED_NAME
from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, ImportFailed, TrainingConfigError
from diptych_training.export.onnx.bundle_files import write_weights
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.conversion import convert
from diptych_training.importing.own import load_own_run
from diptych_training.models import CLIP, ModelConfig
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.paths import recipe_file
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder
from diptych_training.train.align.image_start import weights_file
from diptych_training.train.align.start import open_drawings
from diptych_training.train.text_teacher.sentence_encoder import open_sentence_encoder
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts
from diptych_training.train.train_run import prepare, train_run
from support.lite_weights import write_lite_weights
from support.sentence_encoders import write_sentence_encoder
from support.small_recipe import small_recipe
from support.tiny_bundle import write_changed_bundle
from support.tiny_run import (
    EMBED_DIM,
    IMAGE_SIZE,
    TINY_LITE,
    TINY_PAIR,
    TINY_RESNET,
    TINY_VIT,
    TINY_WORD_PIECES,
    write_tiny_dataset,
    write_tiny_run,
)

pytestmark = pytest.mark.usefixtures("curves_undrawn")

CLASSES = ("cat", "dog", "red house", "blue boat", "old tree")
DIMS = TINY_PAIR.photograph_dim


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier, the names of its classes, a sentence encoder and a drawings' run."""
    home = tmp_path_factory.mktemp("parts")
    write_lite_weights(home / "lite.safetensors", TINY_LITE, len(CLASSES))
    (home / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    write_sentence_encoder(home / "mini")
    write_tiny_run(home / "runs" / "drawings", image=TINY_RESNET)
    return home


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


def recipe(parts: Path, **tables: Any) -> TrainConfig:
    """Six numbers for photographs and the run's 16 for drawings; `tables` change keys of tables."""
    start = {
        "source": str(parts / "lite.safetensors"),
        "licence": "MIT",
        "classes": str(parts / "classes.txt"),
    }
    given: dict[str, Any] = {
        "start_image": {**start, "drawings": "drawings"},
        "text_teacher": {
            "source": str(parts / "mini"),
            "dims": DIMS,
            "batch_size": 8,
            "licence": "Apache-2.0",
        },
        "lock": {"image": "all"},
    }
    for name in ("preprocess", "text"):
        given[name] = small_recipe().model_dump()[name]
    for name, table in tables.items():
        given[name] = {key: value for key, value in (given[name] | table).items() if value is not None}
    model = ModelConfig(
        embed_dim=DIMS + EMBED_DIM, image_size=IMAGE_SIZE, image=TINY_PAIR, text=TINY_WORD_PIECES
    )
    return TrainConfig.model_validate({**small_recipe().model_dump(), "model": model, **given})


def begun(
    config: TrainConfig, dataset: PackedDataset, parts: Path, folder: Path, models: Path | None = None
) -> CLIP:
    opening = partial(open_drawings, config, parts / "runs", models or parts / "no-models")
    loop = prepare(config, dataset, folder, resume=False, open_drawings=opening)
    loop.log.close()
    assert isinstance(loop.state.model, CLIP)
    return loop.state.model


@pytest.fixture(scope="module")
def started(
    parts: Path, dataset: PackedDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CLIP, RunFolder]:
    folder = tmp_path_factory.mktemp("runs") / "begun"
    return begun(recipe(parts), dataset, parts, folder), RunFolder(folder)


def test_classes_stand_where_the_sentence_encoder_puts_their_names(
    started: tuple[CLIP, RunFolder], parts: Path
) -> None:
    model, folder = started
    space = TeacherTexts.read(folder.teacher_texts_file).space
    expected = space.of(open_sentence_encoder(str(parts / "mini")).embed(list(CLASSES)))
    np.testing.assert_allclose(pair(model).photographs.class_embedding.detach(), expected, atol=1e-3)


def test_the_drawings_tower_is_that_of_the_run(started: tuple[CLIP, RunFolder], parts: Path) -> None:
    theirs = load_run(parts / "runs" / "drawings", "best").model.visual.state_dict()
    ours = pair(started[0]).drawings.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_the_drawings_tower_may_be_half_of_a_pair(
    started: tuple[CLIP, RunFolder], parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    shutil.copytree(started[1].path, tmp_path / "pair")
    pair_run = RunFolder(tmp_path / "pair")
    shutil.copyfile(pair_run.start, pair_run.best)
    config = recipe(parts, start_image={"drawings": str(pair_run.path)})
    ours = begun(config, dataset, parts, tmp_path / "run")
    theirs = pair(started[0]).drawings.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in pair(ours).drawings.state_dict().items())


def test_the_name_of_the_run_itself_means_a_version(
    started: tuple[CLIP, RunFolder], parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    write_changed_bundle(
        tmp_path / "models", tmp_path / "scratch", lambda folder: write_weights(started[0], folder)
    )
    numbers = {"mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}
    tables = recipe(parts, start_image={"drawings": "tiny"}, preprocess=numbers).model_dump()
    config = TrainConfig.model_validate(tables | {"name": "tiny"})
    begun(config, dataset, tmp_path, tmp_path / "runs" / "tiny", tmp_path / "models")
    again = begun(config, dataset, tmp_path, tmp_path / "runs" / "tiny", tmp_path / "models")
    theirs = pair(started[0]).drawings.state_dict()
    assert torch.equal(pair(again).drawings.conv1.weight, theirs["conv1.weight"])


def test_a_run_that_is_to_take_its_drawings_from_itself_is_refused(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    config = recipe(parts, start_image={"drawings": small_recipe().name})
    message = r"start_image.drawings: .*no-models does not exist: --model-repo.*`diptych-train train pictogr"
    with pytest.raises(CheckpointError, match=message):
        begun(config, dataset, parts, tmp_path / "run")


def test_the_recipe_everyday_takes_its_drawings_from_the_default_model() -> None:
    config = read_config(recipe_file("everyday"))
    assert config.start_image is not None
    assert config.start_image.drawings == SHIPPED_NAME


def test_a_word_of_the_encoder_has_its_place_from_the_beginning(
    started: tuple[CLIP, RunFolder], parts: Path
) -> None:
    model, folder = started
    space = TeacherTexts.read(folder.teacher_texts_file).space
    tokenizer = Tokenizer.from_file(str(folder.tokenizer_file))
    assert tokenizer.token_to_id("##house") is None  # no text has it
    alone = space.of(open_sentence_encoder(str(parts / "mini")).embed(["a"]))[0]
    row = model.word_pieces.token_embedding.weight[tokenizer.token_to_id("a"), :DIMS].detach()
    np.testing.assert_allclose(row, alone, atol=1e-3)


def test_word_pieces_begin_at_the_encoder_beside_an_image_tower_that_begins_at_random(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    tables = recipe(parts).model_dump(exclude={"start_image", "lock"})
    tables["model"] |= {"image_size": IMAGE_SIZE, "image": TINY_VIT.model_dump()}
    begun(TrainConfig.model_validate(tables), dataset, parts, tmp_path / "run")
    loop = prepare(TrainConfig.model_validate(tables), dataset, tmp_path / "run", resume=True)
    loop.log.close()
    assert isinstance(loop.state.model, CLIP)
    projection = loop.state.model.word_pieces.mean_projection.weight.detach()
    assert torch.equal(projection, torch.eye(DIMS, TINY_WORD_PIECES.width))


def test_licences_of_all_parts_are_recorded(started: tuple[CLIP, RunFolder]) -> None:
    learned = Provenance.model_validate_json(started[1].provenance_file.read_bytes()).licences()
    assert learned["lite.safetensors"] == "MIT"
    assert learned["teacher mini"] == "Apache-2.0"
    assert "drawings (best, step 7)" in learned


def test_both_image_towers_that_a_run_started_from_are_named(started: tuple[CLIP, RunFolder]) -> None:
    begun_run = load_run(started[1].path, "start")
    assert begun_run.history["image_tower_from"] == "lite.safetensors"
    assert begun_run.history["drawings_from"] == "drawings (best, step 7)"
    source = read_checkpoint(started[1].start).state["source"]
    assert source == "lite.safetensors and drawings (best, step 7)"


def test_only_the_text_tower_learns_and_the_run_can_be_imported(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    config = recipe(parts)
    opening = partial(open_drawings, config, parts / "runs", parts / "no-models")
    done = train_run(
        config, dataset, tmp_path / "run", resume=False, device="cpu", report=str, open_drawings=opening
    )
    assert done
    trained = load_run(tmp_path / "run", "last").model.state_dict()
    start = load_run(tmp_path / "run", "start").model.state_dict()
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, start[name])}
    assert changed
    imported = convert(load_own_run(tmp_path / "run", Choices())).state_dict()  # as any of our models
    assert imported.keys() == trained.keys()
    assert not any(name.startswith("visual.") for name in changed)


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"start_image": {"classes": None}}, ValidationError, "start_image.classes is missing, which model"),
        (
            {"start_image": {"drawings": None}},
            ValidationError,
            "start_image.drawings is missing, which model",
        ),
        (
            {"text_teacher": {"dims": 5}},
            ValidationError,
            r"mean_dim is 6: text_teacher.dims must be the same, it",
        ),
        (
            {"start_image": {"drawings": "none"}},
            CheckpointError,
            "start_image.drawings: 'none' is not a folder",
        ),
        ({"start_image": {"classes": "none.txt"}}, TrainingConfigError, "none.txt cannot be read"),
        (
            {"start_image": {"source": "json"}},
            ImportFailed,
            "start_image.source: the package json has 0 files of weights, not one: name the file",
        ),
        (
            {"start_image": {"source": "nowhere"}},
            ImportFailed,
            "start_image.source: nowhere: no such file, folder or installed Python package",
        ),
    ],
)
def test_parts_that_are_missing_are_named(
    tables: dict[str, Any],
    error: type[Exception],
    message: str,
    parts: Path,
    dataset: PackedDataset,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        begun(recipe(parts, **tables), dataset, parts, tmp_path / "run")


def test_a_recipe_without_the_sentence_encoder_that_it_needs_is_told_to_add_it(parts: Path) -> None:
    tables = recipe(parts).model_dump(exclude={"text_teacher"})
    message = r"mean_dim is 6: numbers that a sentence encoder .* table \[text_teacher\] with dims = 6"
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(tables)


def test_the_classifier_may_be_a_folder_with_one_file_of_weights(tmp_path: Path) -> None:
    for name in ("labels.txt", "lite.safetensors"):
        (tmp_path / name).touch()
    assert weights_file(str(tmp_path)) == tmp_path / "lite.safetensors"
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "lite.pth").touch()
    message = rf"the folder {tmp_path} has 2 files of weights, not one, lite.safetensors, more/lite.pth: name"
    with pytest.raises(ImportFailed, match=message):
        weights_file(str(tmp_path))


def test_names_must_be_as_many_as_classes(parts: Path, dataset: PackedDataset, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("cat\ndog\n")
    config = recipe(parts, start_image={"classes": str(few)})
    with pytest.raises(CheckpointError, match=r"few\.txt has 2 names, the classifier has 5 classes"):
        begun(config, dataset, parts, tmp_path / "run")


def test_every_class_must_have_a_name(parts: Path, dataset: PackedDataset, tmp_path: Path) -> None:
    (tmp_path / "gap.txt").write_text("cat\n\nred house\nblue boat\nold tree\n")
    config = recipe(parts, start_image={"classes": str(tmp_path / "gap.txt")})
    with pytest.raises(TrainingConfigError, match=r"gap\.txt has no name in line 2"):
        begun(config, dataset, parts, tmp_path / "run")


def test_a_drawings_tower_of_another_shape_is_refused(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    write_tiny_run(tmp_path / "runs" / "other", image=TINY_VIT)
    config = recipe(parts, start_image={"drawings": str(tmp_path / "runs" / "other")})
    with pytest.raises(TrainingConfigError, match=r"start_image.drawings: model.image.drawings is .*resnet"):
        begun(config, dataset, parts, tmp_path / "run")


def test_a_drawings_tower_that_saw_other_numbers_is_refused(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    config = recipe(parts, preprocess={"mean": (0.5, 0.5, 0.5)})
    with pytest.raises(TrainingConfigError, match=r"start_image.drawings: preprocess.mean is .*0.5.* of"):
        begun(config, dataset, parts, tmp_path / "run")


def test_word_pieces_are_padded_with_token_0(parts: Path) -> None:
    with pytest.raises(
        ValidationError, match=r"text\.pad_id is 1, it must be 0: a text tower of word pieces"
    ):
        recipe(parts, text={"pad_id": 1})


def test_parts_for_a_tower_that_has_no_place_for_them_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"start_image\.classes is given, but not what model\.image of"):
        small_recipe(TINY_LITE, start_image={"source": "lite.pth", "classes": "imagenet"})


def pair(model: CLIP) -> PhotographsAndDrawings:
    assert isinstance(model.visual, PhotographsAndDrawings)
    return model.visual
