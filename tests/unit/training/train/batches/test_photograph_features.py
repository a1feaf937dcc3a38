"""A locked part for photographs whose features are computed once: the same run, without it in its steps."""

from pathlib import Path

import pytest

from diptych_training.config import StartConfig, TrainConfig, read_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.models.efficientnet_lite import EfficientNetLite
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import prepare
from support.tiny_run import TINY_PAIR, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji", "cache")

RECIPE = """
name = "small"
start = "pair"
[lock]
image = {locked}
cache = {cache}
[data.rehearsal.old]
data = "{data}"
share = 0.25
[distill]
teachers = ["{teacher}"]
on = "rehearsed"
[augment]
hue_probability = {changed}
[run]
steps = 6
batch_size = 8
log_every = 1
validate_every = 6
precision = "fp32"
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    pair = TINY_PAIR.model_copy(update={"drawing_size": 16})
    write_tiny_run(folder / "pair", image=pair)
    return folder


@pytest.fixture
def started(runs: Path) -> SourceModel:
    return open_source_model(StartConfig(source="pair"), runs, runs)


def recipe(
    folder: Path, dataset: PackedDataset, started: SourceModel, *, cache: bool, changed: float = 0.0,
    locked: str = "1", teacher: str = "pair",
) -> TrainConfig:  # fmt: skip
    file = folder / "recipe.toml"
    text = RECIPE.format(
        cache=str(cache).lower(), data=dataset.path, changed=changed, locked=locked, teacher=teacher
    )
    file.write_text(text)
    return read_config(file, start_tables=lambda _: started.tables)


def losses(
    tmp_path: Path, runs: Path, dataset: PackedDataset, started: SourceModel, *, cache: bool
) -> list[float]:
    config = recipe(tmp_path, dataset, started, cache=cache)
    loop = prepare(
        config, dataset, tmp_path / f"cache-{cache}", started,
        open_teachers=lambda: open_teachers(config, runs, runs), resume=False,
    )  # fmt: skip
    loop.train()
    loop.log.close()
    found = [float(value) for value in loop.state.model.state_dict()["logit_scale"].reshape(1)]
    batch = loop.batches.make(6)
    return [*found, float(loop.gradient_step.forward_backward(batch)["loss"])]


def test_a_run_learns_as_one_without_a_cache(tmp_path, runs, dataset, started):
    plain = losses(tmp_path, runs, dataset, started, cache=False)
    cached = losses(tmp_path, runs, dataset, started, cache=True)

    assert cached == pytest.approx(plain, rel=1e-4)


def test_a_step_runs_no_tower_of_photographs_for_model_and_teacher(
    tmp_path, runs, dataset, started, monkeypatch
):
    config = recipe(tmp_path, dataset, started, cache=True, changed=0.5)
    loop = prepare(
        config, dataset, tmp_path / "run", started,
        open_teachers=lambda: open_teachers(config, runs, runs), resume=False,
    )  # fmt: skip
    calls: list[object] = []
    monkeypatch.setattr(EfficientNetLite, "pooled", calls.append)

    batch = loop.batches.make(0)
    loop.gradient_step.forward_backward(batch)

    assert calls == []
    assert batch.images.shape == (8, 3, 16, 16)
    loop.log.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"locked": "0"}, "lock.image is 0, but lock.cache needs"),
        ({"teacher": "another"}, "distill.teachers need the pixels"),
    ],
)
def test_what_is_not_computed_once_is_refused(tmp_path, dataset, started, change, message):
    with pytest.raises(TrainingConfigError, match=message):
        recipe(tmp_path, dataset, started, cache=True, **change)
