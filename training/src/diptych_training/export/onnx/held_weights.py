"""Leave out of `weights.safetensors` what the float32 graphs of the bundle hold, and read it back.

The file's metadata states the tensors that are left out: graph file -> name of an initialiser, which is that
of the tensor -> CRC-32 of its bytes.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych_training.checkpoint import write_tensors
from diptych_training.errors import ImportFailed

HELD = "held_by_graphs"  # key of the metadata
HALF = "F16"  # as safetensors names float16


def write_weights_beside_graphs(
    path: Path, weights: Mapping[str, Tensor], held: Mapping[str, set[str]]
) -> None:
    """Write the tensors that no graph holds. `held`: names of tensors by the graph file that holds them."""
    stated = {
        file: {name: _checksum(weights[name]) for name in sorted(names)} for file, names in held.items()
    }
    left = {
        name: tensor for name, tensor in weights.items() if not any(name in names for names in held.values())
    }
    write_tensors(path, left, {"format": "pt", HELD: json.dumps(stated)})


def is_half_stored(path: Path) -> bool:
    """Whether the file of weights is of a version that was exported with half weights; False if it cannot be
    read.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            if HELD in (opened.metadata() or {}):
                return True
            names: list[str] = opened.keys()
            return any(opened.get_slice(name).get_dtype() == HALF for name in names)
    except (SafetensorError, OSError):
        return False


def read_held_weights(path: Path, stated: str) -> dict[str, Tensor]:
    """The tensors that graphs beside `path` hold; `stated` is the entry of its metadata.

    Raises ImportFailed naming the graph, and the tensor that it lacks or holds with other values.
    """
    return {
        name: tensor
        for file, checksums in json.loads(stated).items()
        for name, tensor in _read(path, path.parent / Path(file).name, checksums)
    }


def _read(path: Path, graph: Path, checksums: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    found = _initialisers(path, graph, checksums)
    for name, checksum in checksums.items():
        if name not in found:
            raise ImportFailed(f"{graph} lacks {name}, which {path.name} leaves to it")
        tensor = torch.from_numpy(numpy_helper.to_array(found[name], str(graph.parent)).copy())
        if _checksum(tensor) != checksum:
            raise ImportFailed(
                f"{graph} was altered: {name}, which {path.name} leaves to it, has other values"
            )
        yield name, tensor


def _initialisers(path: Path, graph: Path, names: Mapping[str, int]) -> dict[str, onnx.TensorProto]:
    try:
        model = onnx.load(graph)
    except Exception as error:  # onnx's and protobuf's errors share no base class
        raise ImportFailed(
            f"{graph} cannot be read, and holds {len(names)} tensors of {path.name}, such as "
            f"{next(iter(names))}: {error}"
        ) from error
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().numpy().tobytes())
