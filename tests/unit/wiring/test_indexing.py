"""Where collections are searched, by what is set and what FAISS has here."""

import faiss
import pytest

from diptych.adapters import faiss_gpu
from diptych.adapters.cuda_driver import Gpu, first_gpu
from diptych.adapters.faiss_gpu_index import FaissGpuIndex
from diptych.adapters.faiss_index import FaissFlatIndex
from diptych.errors import ConfigError
from diptych.settings import read_settings
from diptych.wiring.indexing import new_index_of
from support.fake_faiss_gpu import FakeFaissGpu
from support.fake_gpu import FakeGpu

DIM = 16


def place(**settings: object) -> object:
    index = new_index_of(read_settings(settings), DIM)()
    assert isinstance(index, FaissFlatIndex)
    assert index.place.device == "cpu"
    return index.place.reason


@pytest.fixture
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)


@pytest.mark.usefixtures("without_gpus")
def test_a_build_without_gpus_is_searched_on_the_cpu_and_says_so() -> None:
    assert place() == (
        f"no GPU: faiss {faiss.__version__} is built without GPUs: faiss-gpu in place of faiss-cpu has them"
    )


@pytest.mark.usefixtures("without_gpus")
def test_a_gpu_that_is_demanded_and_lacks_is_no_start() -> None:
    with pytest.raises(
        ConfigError, match=r"DIPTYCH_INDEX_DEVICE=cuda cannot be had: faiss .* built without GPUs"
    ):
        new_index_of(read_settings({"index_device": "cuda"}), DIM)


def test_a_machine_without_gpus_is_searched_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaissGpu(n_gpus=0).install(monkeypatch)
    assert place() == f"no GPU: faiss {faiss.__version__} finds no GPU"


@pytest.mark.parametrize("status", [802, 803, 999])
def test_a_driver_that_does_not_start_is_a_reason_before_faiss_ends_the_process_over_it(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    FakeFaissGpu().install(monkeypatch)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: pytest.fail("it ends the process"))
    driver = FakeGpu()
    driver.fails["cuInit"] = status
    monkeypatch.setattr(faiss_gpu, "first_gpu", lambda: first_gpu(driver.load))
    assert str(place()).startswith(f"no GPU: the NVIDIA driver does not work: cuInit answers {status}")
    with pytest.raises(ConfigError, match=f"cuInit answers {status}"):
        new_index_of(read_settings({"index_device": "cuda"}), DIM)


def test_a_driver_that_is_older_than_the_cuda_of_faiss_is_a_reason_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeFaissGpu(driver=Gpu("Old card", (11, 8), (7, 0))).install(monkeypatch)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: pytest.fail("it ends the process"))
    assert place() == "no GPU: the NVIDIA driver of Old card runs CUDA up to 11.8 only, faiss needs 12.0"


def test_a_gpu_that_works_is_taken_unless_the_cpu_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeFaissGpu().install(monkeypatch)
    assert isinstance(new_index_of(read_settings({}), DIM)(), FaissGpuIndex)
    assert isinstance(
        new_index_of(read_settings({"index_device": "cuda", "device": "cpu"}), DIM)(), FaissGpuIndex
    )
    assert len(gpu.threads) == 1
    assert (gpu.n_freed, gpu.freed_beside_captures) == (2, 0), "what it was proven with"
    assert place(index_device="cpu") == "set by DIPTYCH_INDEX_DEVICE"
    assert place(device="cpu") == "set by DIPTYCH_DEVICE"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"fails_with": RuntimeError("no kernel image is available")}, "fails on the GPU: no kernel image"),
        ({"noise": 0.5}, "computes wrongly on the GPU: a cosine is off by"),
    ],
)
def test_a_gpu_that_fails_its_probe_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, fault: dict[str, object], said: str
) -> None:
    gpu = FakeFaissGpu(**fault).install(monkeypatch)  # type: ignore[arg-type]
    assert said in str(place())
    assert (gpu.n_freed, gpu.freed_beside_captures) == (1, 0)
    with pytest.raises(ConfigError, match=said):
        new_index_of(read_settings({"index_device": "cuda"}), DIM)


def test_lists_without_a_gpu_are_a_wish_that_the_cpu_says_it_does_not_grant() -> None:
    reason = str(place(index_device="cpu", index_search="ivf"))
    assert reason == (
        "set by DIPTYCH_INDEX_DEVICE; DIPTYCH_INDEX_SEARCH=ivf is for a GPU: every row is compared"
    )


@pytest.mark.usefixtures("without_gpus")
def test_lists_on_a_gpu_that_is_demanded_and_lacks_are_no_start() -> None:
    assert "; DIPTYCH_INDEX_SEARCH=ivf is for a GPU" in str(place(index_search="ivf"))
    with pytest.raises(ConfigError, match="DIPTYCH_INDEX_DEVICE=cuda cannot be had"):
        new_index_of(read_settings({"index_device": "cuda", "index_search": "ivf"}), DIM)


def test_a_gpu_is_proven_with_lists_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeFaissGpu().install(monkeypatch)
    assert isinstance(new_index_of(read_settings({}), DIM)(), FaissGpuIndex)
    assert gpu.n_lists == []
    assert isinstance(new_index_of(read_settings({"index_search": "ivf"}), DIM)(), FaissGpuIndex)
    assert len(gpu.n_lists) == 1
    assert gpu.n_probes[-1] == gpu.n_lists[0], "all of them"
    assert (len(gpu.alive), gpu.freed_beside_captures, len(gpu.threads)) == (0, 0, 1)


def test_a_gpu_that_loses_rows_of_lists_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeFaissGpu(loses_rows=True).install(monkeypatch)
    said = "computes wrongly on the GPU: 399 of 400 rows are found"
    assert said in str(place(index_search="ivf"))
    assert (len(gpu.alive), gpu.freed_beside_captures) == (0, 0)
    with pytest.raises(ConfigError, match=said):
        new_index_of(read_settings({"index_search": "ivf", "index_device": "cuda"}), DIM)
