"""Texts that a text teacher is to embed, from the files that a recipe names."""

from pathlib import Path

import pytest
import torch

from diptych_training.config import TextTeacherConfig, read_config
from diptych_training.data.wordnet.command import NOUNS
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import recipe_file
from diptych_training.train.text_teacher.teacher_texts import teacher_texts


@pytest.fixture
def everyday(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextTeacherConfig:
    """The text teacher of the recipe everyday, with a cache elsewhere."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "elsewhere"))
    config = read_config(recipe_file("everyday")).text_teacher
    assert config is not None
    return config


def test_nouns_that_are_missing_are_an_error_that_says_what_writes_them(
    everyday: TextTeacherConfig, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere" / "wordnet" / NOUNS
    message = rf"text_teacher.texts: {file} does not exist: `diptych-train data wordnet` writes it"
    with pytest.raises(TrainingConfigError, match=message):
        teacher_texts(everyday, [], 192, torch.device("cpu"))


def test_nouns_are_read_where_the_cache_is(everyday: TextTeacherConfig, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "wordnet" / NOUNS
    file.parent.mkdir(parents=True)
    file.write_text("heron\nsea eagle\n")
    with pytest.raises(TrainingConfigError, match=r"3 different texts are fewer than text_teacher\."):
        teacher_texts(everyday, ["a heron"], 192, torch.device("cpu"))


def test_another_file_that_is_missing_is_named(tmp_path: Path) -> None:
    config = TextTeacherConfig(source="none", texts=(str(tmp_path / "names.txt"),))
    with pytest.raises(TrainingConfigError, match=r"names\.txt cannot be read as texts: .*No such file"):
        teacher_texts(config, [], 192, torch.device("cpu"))
