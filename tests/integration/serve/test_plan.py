"""The execution plan of a server: measured once and kept, or as the settings say."""

import json
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.tuning.execution_layout import BATCH_SIZES, Plan
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, load_precision, verify_bundle
from diptych.wiring.tuning import measuring, planning
from diptych.wiring.tuning.planning import PLAN_FILE, with_plan
from support.app import running_app
from support.pictures import noise
from support.tiny_bundle import TINY, write_tiny_bundle


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBundle:
    repo = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(repo)
    bundle = verify_bundle(ModelRepository(repo).folder(TINY, 1))
    return load_precision(bundle, "fp32", device="cpu", n_threads=2)


@pytest.fixture(autouse=True)
def _little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "IMAGE_S", 0.02)


def settings(folder: Path, **given: object) -> Settings:
    return Settings(**{"data_dir": folder / "data", "n_threads": 2, **given})


def forbid_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> None:
        raise AssertionError("this would measure")

    monkeypatch.setattr(planning, "cpu_layout", measured)


def test_values_that_settings_leave_open_are_measured_and_kept(
    loaded: LoadedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = with_plan(loaded, settings(tmp_path)).plan
    assert plan.n_lanes in {1, 2}
    assert plan.image_batch_size in BATCH_SIZES
    assert plan.text_batch_size == plan.image_batch_size
    assert plan.n_decode_threads >= 1

    forbid_measuring(monkeypatch)
    assert with_plan(loaded, settings(tmp_path)).plan == plan


def test_nothing_is_measured_while_requests_run(
    loaded: LoadedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = with_plan(loaded, settings(tmp_path)).plan
    forbid_measuring(monkeypatch)
    other = Plan(1, 2, 3, 4)
    assert with_plan(loaded, settings(tmp_path), fallback=other).plan == measured
    assert with_plan(loaded, settings(tmp_path, n_threads=3), fallback=other).plan == other
    two_lanes = Plan(2, 2, 3, 4)
    planned = with_plan(loaded, settings(tmp_path, n_threads=1), fallback=two_lanes)
    assert planned.plan == Plan(1, 2, 3, 4), "where batches cannot run side by side"
    assert planned.parallel_encoder is None


def test_set_values_are_used_without_measuring(
    loaded: LoadedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_measuring(monkeypatch)
    planned = with_plan(loaded, settings(tmp_path, n_threads=5, n_lanes=2, max_batch_size=3))
    assert planned.plan == Plan(2, 3, 3, 5)
    assert planned.parallel_encoder is not None
    assert not (tmp_path / "data" / PLAN_FILE).exists()


@pytest.mark.parametrize("changes", [{"n_threads": 1}, {"decode": "fast"}, {"max_batch_size": 4}])
def test_other_settings_are_measured_again(
    changes: dict[str, object], loaded: LoadedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_plan(loaded, settings(tmp_path))
    forbid_measuring(monkeypatch)
    with pytest.raises(AssertionError, match="this would measure"):
        with_plan(loaded, settings(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", '{"KEY": {"n_lanes": 1}}'])
def test_damaged_plan_file_counts_as_missing(content: str, loaded: LoadedBundle, tmp_path: Path) -> None:
    given = settings(tmp_path)
    with_plan(loaded, given)
    file = given.data_dir / PLAN_FILE
    (key,) = json.loads(file.read_text())
    file.write_text(content.replace("KEY", key))
    assert with_plan(loaded, given).plan.n_decode_threads >= 1


def test_vectors_are_the_same_in_every_worker(tmp_path: Path) -> None:
    files = [("image", (f"{seed}.png", noise(seed))) for seed in range(20)]
    with running_app(tmp_path, n_threads=2, n_lanes=2, max_batch_size=3) as client:
        together = [row["embedding"] for row in client.post("/embed", files=files).json()["data"]]
        alone = [client.post("/embed", files=[file]).json()["data"][0]["embedding"] for file in files]
    np.testing.assert_allclose(together, alone, atol=1e-6)
