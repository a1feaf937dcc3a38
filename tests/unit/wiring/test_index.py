"""The device of the vector index, by the settings and by what FAISS supports here."""

import asyncio
from pathlib import Path

import faiss
import numpy as np
import pytest

from diptych.adapters.faiss.cpu_index import FaissCpuIndex
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.files.quota import Quota
from diptych.adapters.free_space import MachineFreeSpace
from diptych.errors import ConfigError
from diptych.settings import read_settings
from diptych.wiring.index import index_files_of, new_index_of
from support.fake_faiss_gpu import FakeFaissGpu

DIM = 16


def place(**settings: object) -> object:
    index = new_index_of(read_settings(settings))(DIM)
    assert isinstance(index, FaissCpuIndex)
    assert index.placement.device == "cpu"
    return index.placement.reason


@pytest.fixture
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)


@pytest.mark.usefixtures("without_gpus")
def test_faiss_built_without_gpus_searches_on_the_cpu_with_a_reason() -> None:
    assert place() == (
        f"no GPU: faiss {faiss.__version__} is built without GPU support: "
        "install faiss-gpu instead of faiss-cpu"
    )


@pytest.mark.usefixtures("without_gpus")
def test_required_gpu_that_is_missing_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"DIPTYCH_INDEX_DEVICE=cuda is not available: faiss .* built without GPU support"
    ):
        new_index_of(read_settings({"index_device": "cuda"}))


def test_machine_without_gpus_searches_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaissGpu(n_gpus=0).install(monkeypatch)
    assert place() == f"no GPU: faiss {faiss.__version__} finds no GPU"


def test_broken_or_old_driver_is_found_before_faiss_aborts_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = FakeFaissGpu().install(monkeypatch).gpu
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: pytest.fail("it ends the process"))
    gpu.cuda = 11080
    assert place() == "no GPU: the NVIDIA driver of NVIDIA H100 runs CUDA up to 11.8 only, faiss needs 12.0"
    gpu.fails["cudaGetDeviceCount"] = "cudaErrorSystemDriverMismatch"
    assert str(place()).startswith("no GPU: the NVIDIA driver does not work: cudaGetDeviceCount returned ")
    with pytest.raises(ConfigError, match="cudaErrorSystemDriverMismatch"):
        new_index_of(read_settings({"index_device": "cuda"}))


def test_working_gpu_is_chosen_unless_the_cpu_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeFaissGpu().install(monkeypatch)
    assert isinstance(new_index_of(read_settings({}))(DIM), FaissGpuIndex)
    assert isinstance(
        new_index_of(read_settings({"index_device": "cuda", "device": "cpu"}))(DIM), FaissGpuIndex
    )
    assert len(gpu.threads) == 1
    assert len(gpu.alive) == 0, "what it was proven with"
    assert place(index_device="cpu") == "set by DIPTYCH_INDEX_DEVICE"
    assert place(device="cpu") == "set by DIPTYCH_DEVICE"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"fails_with": RuntimeError("no kernel image is available")}, "fails on the GPU: no kernel image"),
        ({"noise": 0.5}, "computes wrongly on the GPU: a cosine is off by"),
    ],
)
def test_gpu_that_fails_its_probe_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, fault: dict[str, object], said: str
) -> None:
    gpu = FakeFaissGpu(**fault).install(monkeypatch)  # type: ignore[arg-type]
    assert said in str(place())
    assert len(gpu.alive) == 0
    with pytest.raises(ConfigError, match=said):
        new_index_of(read_settings({"index_device": "cuda"}))


def test_large_collections_get_lists_unless_every_search_is_to_compare_all_rows(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "1_a.ivf").write_bytes(b"stale")
    rows = np.zeros((100_000, DIM), np.float32)
    needs = dict[str, bool]()
    for kind in ("auto", "exact"):
        settings = read_settings({"data_dir": tmp_path, "device": "cpu", "index": kind})
        quota = Quota()
        files = index_files_of(settings, quota, MachineFreeSpace(tmp_path, quota))
        index = new_index_of(settings, files)(DIM)
        asyncio.run(index.apply((), range(len(rows)), rows))
        needs[kind] = index.needs_training
    assert needs == {"auto": True, "exact": False}
    assert list((tmp_path / "index").iterdir()) == [], "nothing keeps its files up to date"


@pytest.mark.parametrize("kind", ["auto", "exact"])
def test_read_only_server_trains_no_index_and_removes_no_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "1_a.ivf").write_bytes(b"of another index")
    settings = read_settings({"data_dir": tmp_path, "device": "cpu", "index": kind, "read_only": True})
    quota = Quota()
    files = index_files_of(settings, quota, MachineFreeSpace(tmp_path, quota))
    index = new_index_of(settings, files)(DIM)
    asyncio.run(index.apply((), range(100_000), np.zeros((100_000, DIM), np.float32)))
    assert not index.needs_training
    assert len(list((tmp_path / "index").iterdir())) == 1
