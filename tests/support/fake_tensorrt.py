"""A fake of the `tensorrt` package on a machine with a GPU, with the interface of releases 10 and 11.

    tensorrt = FakeTensorrt(FakeGpu()).install(monkeypatch)

A plan contains the graph that it was built from, and the CPU computes it when somebody waits for its stream.
The fake refuses what TensorRT refuses: networks that are not strongly typed, bytes that anything but Cast
reads, shapes outside the profile, plans for another GPU or release. `pools_wrongly` imitates its error in
ArgMax over integers: all texts are read at their first token.
"""

import ctypes
import json
import sys
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from diptych.adapters.tensorrt import library
from diptych.adapters.tensorrt.library import MODULES
from support.fake_cuda_bindings import FakeGpu
from support.tensorrt_parser import refused

MAGIC = b"plan"
INTEGERS = (TensorProto.INT32, TensorProto.INT64)


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    """The base class that applications inherit from and must initialise."""

    Severity = Severity

    def __init__(self) -> None:
        self.initialised = True


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(Enum):
    TF32 = 7


class MemoryPoolType(Enum):
    WORKSPACE = 0


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


DataType = Enum("DataType", {"FLOAT": 0, "HALF": 1, "INT32": 3, "UINT8": 5, "INT64": 8})
TYPES = {
    TensorProto.FLOAT: DataType["FLOAT"],
    TensorProto.FLOAT16: DataType["HALF"],
    TensorProto.INT32: DataType["INT32"],
    TensorProto.INT64: DataType["INT64"],
    TensorProto.UINT8: DataType["UINT8"],
}


class FakeTensorrt:
    """The properties of this release, and a record of calls. Attributes may be changed at any time."""

    def __init__(self, gpu: FakeGpu, version: str = "10.16.1.11") -> None:
        self.gpu = gpu
        self.version = version
        self.pools_wrongly = False
        self.turns_large_batches = 0  # rows of batches of more items than this come out turned round; 0: none
        self.refuses = ""  # what it says instead of building a plan
        self.reads_nothing = False
        self.wrong_inputs: set[str] = set()  # of graphs whose plans turn all rows round
        self.built: list[dict[str, Any]] = []  # of each plan: profiles, workspace, whether TF32 is off
        self.ran: list[tuple[int, tuple[int, ...]]] = []  # of each batch: profile and shape
        self.n_contexts = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeTensorrt":
        """Install it for the rest of the test, with the driver of its GPU."""
        self.gpu.install(monkeypatch)
        module = ModuleType(MODULES[0])
        module.__dict__.update(
            __version__=self.version,
            ILogger=ILogger,
            NetworkDefinitionCreationFlag=NetworkDefinitionCreationFlag,
            BuilderFlag=BuilderFlag,
            MemoryPoolType=MemoryPoolType,
            TensorIOMode=TensorIOMode,
            Builder=lambda logger: _Builder(self, _known(logger)),
            OnnxParser=lambda network, logger: _known(logger) and _OnnxParser(self, network),
            Runtime=lambda logger: _Runtime(self, _known(logger)),
        )
        monkeypatch.setitem(sys.modules, MODULES[0], module)
        # Caches of their own, which end with the test: nothing of it is left to the next.
        for name in ("load_tensorrt", "tensorrt_log"):
            cached = getattr(library, name)
            fresh = cache(cached.__wrapped__)
            modules = list(sys.modules.values())
            for user in [one for one in modules if getattr(one, "__dict__", {}).get(name) is cached]:
                monkeypatch.setattr(user, name, fresh)
        return self

    def made_for(self) -> dict[str, Any]:
        """Return the GPU and release that a plan is bound to."""
        return {"version": self.version, "capability": list(self.gpu.capability)}


def _known(logger: Any) -> Any:
    assert isinstance(logger, ILogger)
    assert logger.initialised, "the binding refuses a logger whose base was not initialised"
    return logger


class _Network:
    def __init__(self, flags: int) -> None:
        assert flags & (1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)), "types are left to timings"
        self.model: onnx.ModelProto | None = None

    def get_input(self, index: int) -> Any:
        assert self.model is not None
        port = self.model.graph.input[index]
        sizes = [dim.dim_value or -1 for dim in port.type.tensor_type.shape.dim]
        return SimpleNamespace(name=port.name, shape=sizes)


class _OnnxParser:
    def __init__(self, fake: FakeTensorrt, network: _Network) -> None:
        self._fake, self._network = fake, network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self._errors[index])

    def parse(self, model: bytes, path: str) -> bool:
        if self._fake.reads_nothing:
            self._errors.append("a node that it does not know")
            return False
        read = onnx.load_from_string(model)
        load_external_data_for_model(read, str(Path(path).parent))
        self._network.model = onnx.shape_inference.infer_shapes(read)
        onnx.checker.check_model(self._network.model)
        if refusal := refused(self._network.model):
            self._errors.append(refusal)
        return not refusal


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = [list(min), list(opt), list(max)]


class _Config:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.workspace: int | None = None
        self.profiles: list[_Profile] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        self.workspace = pool_size

    def add_optimization_profile(self, profile: _Profile) -> int:
        for low, usual, high in profile.shapes.values():
            if not all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
                return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _Builder:
    def __init__(self, fake: FakeTensorrt, logger: Any) -> None:
        self._fake = fake
        self._logger = logger

    def create_network(self, flags: int = 0) -> _Network:
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytearray | None:
        model = network.model
        assert model is not None
        if self._fake.refuses:
            self._logger.log(Severity.ERROR, self._fake.refuses)
            return None
        (source,) = model.graph.input
        sizes = [dim.dim_value for dim in source.type.tensor_type.shape.dim]  # 0: free
        for profile in config.profiles:
            for shape in profile.shapes[source.name]:
                fixed = [size for size, given in zip(sizes, shape, strict=True) if size not in (0, given)]
                assert not fixed, f"{shape} contradicts {sizes}"
        self._fake.built.append(
            {
                "input": source.name,
                "profiles": [profile.shapes[source.name] for profile in config.profiles],
                "workspace": config.workspace,
                "tf32": BuilderFlag.TF32 in config.flags,
                "types": {port.name: port.type.tensor_type.elem_type for port in model.graph.value_info},
            }
        )
        if self._fake.pools_wrongly:
            _pool_at_first(model)
        header = {**self._fake.made_for(), "profiles": self._fake.built[-1]["profiles"]}
        return bytearray(MAGIC + json.dumps(header).encode() + b"\0" + model.SerializeToString())


def _pool_at_first(model: onnx.ModelProto) -> None:
    ports = (*model.graph.input, *model.graph.value_info)
    types = {port.name: port.type.tensor_type.elem_type for port in ports}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "ArgMax" and types[node.input[0]] in INTEGERS:
            output = node.output[0]
            node.output[0] = f"{output}_wanted"
            nodes.append(helper.make_node("Mul", [node.output[0], "never"], [output]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "never"))


class _Runtime:
    def __init__(self, fake: FakeTensorrt, logger: Any) -> None:
        self._fake = fake
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "_Engine | None":
        assert not self.engine_host_code_allowed
        if not serialized_engine.startswith(MAGIC):
            self._logger.log(Severity.ERROR, "Magic tag does not match")
            return None
        header, _, graph = serialized_engine.removeprefix(MAGIC).partition(b"\0")
        stated = json.loads(header)
        profiles = stated.pop("profiles")
        if stated != self._fake.made_for():
            self._logger.log(Severity.ERROR, f"made for {stated}, here is {self._fake.made_for()}")
            return None
        return _Engine(self._fake, graph, profiles)


class _Engine:
    def __init__(self, fake: FakeTensorrt, graph: bytes, profiles: list[list[list[int]]]) -> None:
        model = onnx.load_from_string(graph)
        self.fake = fake
        self.profiles = profiles
        self.inputs = {port.name: port.type.tensor_type for port in model.graph.input}
        self.outputs = {port.name: port.type.tensor_type for port in model.graph.output}
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return TYPES[{**self.inputs, **self.outputs}[name].elem_type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        dims = {**self.inputs, **self.outputs}[name].shape.dim
        return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        assert name in self.inputs
        return self.profiles[profile_index]

    def create_execution_context(self) -> "_Context":
        self.fake.n_contexts += 1
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._profile = 0
        self._shape: tuple[int, ...] | None = None
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile, self._shape = profile_index, None
        return profile_index < len(self._engine.profiles) and stream_handle in self._engine.fake.gpu.streams

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in self._engine.inputs
        low, _, high = self._engine.profiles[self._profile]
        self._shape = tuple(shape)
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory in self._engine.fake.gpu.on_gpu

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._shape is not None
        fake, shape, profile = self._engine.fake, self._shape, self._profile
        assert {*self._engine.inputs, *self._engine.outputs} == set(self._addresses)
        fake.ran.append((profile, shape))
        return fake.gpu.enqueue(stream_handle, lambda: self._compute(shape))

    def _compute(self, shape: tuple[int, ...]) -> None:
        ((source, kind),), (target,) = self._engine.inputs.items(), self._engine.outputs
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        batch = np.frombuffer(ctypes.string_at(self._addresses[source], n_bytes), dtype).reshape(shape)
        (rows,) = self._engine.session.run([target], {source: batch})
        fake = self._engine.fake
        is_large = 0 < fake.turns_large_batches < len(rows)
        answer = np.ascontiguousarray(-rows if is_large or source in fake.wrong_inputs else rows)
        ctypes.memmove(self._addresses[target], answer.ctypes.data, answer.nbytes)
