"""A run that begins with towers which others trained: a classifier, a sentence encoder, a drawings' tower."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from diptych_training.checkpoint import load_run
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, DataError, ImportFailed, TrainingConfigError
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.conversion import convert
from diptych_training.importing.own import load_own_run
from diptych_training.models import CLIP, ModelConfig
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder
from diptych_training.train.align.start import open_drawings
from diptych_training.train.text_teacher.sentence_encoder import open_sentence_encoder
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts
from diptych_training.train.train_run import prepare, train_run
from support.lite_weights import write_lite_weights
from support.sentence_encoders import write_sentence_encoder
from support.small_recipe import small_recipe
from support.tiny_run import (
    EMBED_DIM,
    IMAGE_SIZE,
    TINY_LITE,
    TINY_PAIR,
    TINY_RESNET,
    TINY_WORD_PIECES,
    write_tiny_run,
)

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

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
            "template_probability": 0.5,
            "templates": {"photograph": ["photo of {}"], "drawing": ["{} icon"]},
        },
        "lock": {"image": "all"},
    }
    for name in ("preprocess", "text"):
        given[name] = small_recipe().model_dump()[name]
    for name, table in tables.items():
        given[name] = {key: value for key, value in (given[name] | table).items() if value is not None}
    text = TINY_WORD_PIECES.model_copy(update={"routed": True})
    model = ModelConfig(embed_dim=DIMS + EMBED_DIM, image_size=IMAGE_SIZE, image=TINY_PAIR, text=text)
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


def test_a_run_that_is_to_take_its_drawings_from_itself_is_refused(
    parts: Path, dataset: PackedDataset, tmp_path: Path
) -> None:
    config = recipe(parts, start_image={"drawings": small_recipe().name})
    message = r"start_image.drawings: .*no-models does not exist: --model-repo.*`diptych-train train pictogr"
    with pytest.raises(CheckpointError, match=message):
        begun(config, dataset, parts, tmp_path / "run")


def test_licences_of_all_parts_are_recorded(started: tuple[CLIP, RunFolder]) -> None:
    learned = Provenance.model_validate_json(started[1].provenance_file.read_bytes()).licences()
    assert learned["lite.safetensors"] == "MIT"
    assert learned["teacher mini"] == "Apache-2.0"
    assert "drawings (best, step 7)" in learned


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
    assert "word_pieces.token_route.weight" in changed
    imported = convert(load_own_run(tmp_path / "run", Choices())).state_dict()  # as any of our models
    assert imported.keys() == trained.keys()
    assert not any(name.startswith("visual.") for name in changed)


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
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
        ({"start_image": {"clip_art": "/none"}}, DataError, "no data set in /none"),
        ({"start_image": {"classes": "none.txt"}}, TrainingConfigError, "none.txt cannot be read"),
        (
            {"start_image": {"source": "json"}},
            ImportFailed,
            "start_image.source: the package json has 0 files of weights, not one: name the file",
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


def pair(model: CLIP) -> PhotographsAndDrawings:
    assert isinstance(model.visual, PhotographsAndDrawings)
    return model.visual
