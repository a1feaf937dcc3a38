"""Read the tensors of a TorchScript archive as data, without running any of its code.

Such an archive is a zip file: `data.pkl` holds the tree of modules, and `data/<n>` the numbers of each
tensor. The tree is unpickled with a closed list of names: a class that the archive defines becomes a plain
holder of attributes, and any name outside the list is refused.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from diptych_training.errors import ImportFailed

MAX_TREE_BYTES = 64 * 2**20  # the tree of OpenAI's largest model is under one megabyte
DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}


def is_torchscript(file: Path) -> bool:
    """True for a zip file that holds `constants.pkl`, which a state dict does not."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return _root(archive) is not None


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """Every tensor of the archive's modules, by its dotted name. Raises ImportFailed."""
    with zipfile.ZipFile(file) as archive:
        root = _root(archive)
        if root is None:
            raise ImportFailed(f"{file}: not a TorchScript archive")
        try:
            tensors = dict(_tensors(_TreeReader(archive, root, file).load(), ""))
        except ImportFailed:
            raise
        except Exception as error:  # a damaged tree makes the unpickler raise anything
            raise ImportFailed(f"{file}: damaged archive: {type(error).__name__}: {error}") from error
    if not tensors:
        raise ImportFailed(f"{file}: the archive holds no tensors")
    return tensors


def _root(archive: zipfile.ZipFile) -> str | None:
    """The top folder inside the archive; None if it is not TorchScript."""
    for name in archive.namelist():
        path = PurePosixPath(name)
        if path.name == "constants.pkl" and len(path.parts) == 2:
            return path.parts[0]
    return None


class _Held:
    """Stands for an object of a class that the archive defines: attributes without behaviour."""

    attributes: Mapping[str, Any] = MappingProxyType({})  # an unpickled object is not initialised

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def _as_it_is(data: Any, *_: object) -> Any:
    """Return the data unchanged: typed lists and type tags carry nothing that is needed here."""
    return data


class _TreeReader(pickle.Unpickler):
    """Unpickles `data.pkl` with a closed list of names."""

    def __init__(self, archive: zipfile.ZipFile, root: str, file: Path) -> None:
        entry = archive.getinfo(f"{root}/data.pkl")
        if entry.file_size > MAX_TREE_BYTES:
            raise ImportFailed(f"{file}: data.pkl has {entry.file_size} bytes, the limit is {MAX_TREE_BYTES}")
        self._stream = archive.open(entry)
        super().__init__(self._stream)
        self._archive, self._root, self._file = archive, root, file
        self._storages: dict[str, Tensor] = {}
        self._check_byte_order()

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the closed list. Raises ImportFailed naming any other."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Held
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _as_it_is,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): _as_it_is,
            ("torch.jit._pickle", "build_doublelist"): _as_it_is,
            ("torch.jit._pickle", "build_boollist"): _as_it_is,
            ("torch.jit._pickle", "build_tensorlist"): _as_it_is,
            ("torch.jit._pickle", "restore_type_tag"): _as_it_is,
        }
        if (module, name) not in allowed:
            raise ImportFailed(f"{self._file}: the archive uses {module}.{name}, which is not allowed")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """("storage", dtype, key, device, n) -> (n,) numbers; each storage is read once."""
        kind, dtype, key, _device, n_elements = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ImportFailed(f"{self._file}: the archive stores a {kind!r}, not numbers")
        if key not in self._storages:
            payload = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            stored = torch.frombuffer(payload, dtype=dtype) if payload else torch.empty(0, dtype=dtype)
            if len(stored) < n_elements:
                raise ImportFailed(f"{self._file}: data/{key} has {len(stored)} of {n_elements} numbers")
            self._storages[key] = stored
        return self._storages[key]

    def _check_byte_order(self) -> None:
        name = f"{self._root}/byteorder"
        if name in self._archive.namelist() and self._archive.read(name) != b"little":
            raise ImportFailed(f"{self._file}: only little-endian archives can be read")


def _rebuild_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    """Make a view of the storage; torch checks that it stays inside."""
    return torch.as_strided(storage, size, stride, offset)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Held):
        for key, part in value.attributes.items():
            yield from _tensors(part, f"{name}.{key}" if name else str(key))
