"""Memory and streams through the driver's calling convention."""

import threading

import numpy as np
import pytest

from diptych.adapters.cuda_memory import CudaMemory
from diptych.errors import ConfigError, EncoderFailed
from support.fake_gpu import FakeGpu


def test_bytes_come_back_from_the_gpu_once_the_stream_was_waited_for() -> None:
    gpu = FakeGpu()
    memory = CudaMemory(gpu.load)
    stream, there = memory.new_stream(), memory.on_gpu(8)
    source, target = memory.on_host(8), memory.on_host(8)
    assert not source.bytes.any()
    source.bytes[:] = np.arange(8)
    memory.copy_in(there, source, 8, stream)
    memory.copy_out(target, there, 5, stream)
    assert not target.bytes.any()
    memory.wait(stream)
    assert target.bytes.tolist() == [0, 1, 2, 3, 4, 0, 0, 0]


def test_memory_and_streams_are_given_back_when_nobody_has_them() -> None:
    gpu = FakeGpu()
    memory = CudaMemory(gpu.load)
    kept = [memory.new_stream(), memory.on_gpu(8), memory.on_host(8)]
    assert [len(gpu.streams), len(gpu.on_gpu), len(gpu.on_host)] == [1, 1, 1]
    del kept[:]
    assert [len(gpu.streams), len(gpu.on_gpu), len(gpu.on_host)] == [0, 0, 0]


def test_every_thread_must_enter_and_then_may_use_it() -> None:
    gpu = FakeGpu()
    memory = CudaMemory(gpu.load)
    stream, there, here = memory.new_stream(), memory.on_gpu(1), memory.on_host(1)
    said: list[str] = []

    def copy() -> None:
        with pytest.raises(EncoderFailed, match="cuMemcpyHtoDAsync_v2 answers 201"):
            memory.copy_in(there, here, 1, stream)
        memory.enter()
        memory.copy_in(there, here, 1, stream)
        said.append("done")

    thread = threading.Thread(target=copy)
    thread.start()
    thread.join()
    assert said == ["done"]


@pytest.mark.parametrize(
    "call", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemAlloc_v2"]
)
def test_call_of_the_driver_that_fails_is_named_with_its_answer(call: str) -> None:
    gpu = FakeGpu()
    gpu.fails[call] = 2
    with pytest.raises(EncoderFailed, match=f"the NVIDIA driver does not work: {call} answers 2"):
        CudaMemory(gpu.load).on_gpu(8)


def test_missing_driver_is_named() -> None:
    def load(library: str) -> None:
        raise OSError(f"{library}: cannot open")

    with pytest.raises(ConfigError, match=r"there is no NVIDIA driver here: .*cannot open"):
        CudaMemory(load)
