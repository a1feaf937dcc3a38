"""torch's exporter, asked once for each graph: it takes seconds even for a tiny model. Knows no files.

with exported_once():     # for tests of what is done with graphs, not of how they are made
    export_run(...)       # its own files and proofs, of the same programs as before
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

_kept: dict[str, torch.onnx.ONNXProgram | None] = {}
_export = torch.onnx.export


@contextmanager
def exported_once() -> Iterator[None]:
    """Graphs of the same modules, weights and shapes are the same program, in all tests of this process."""
    with mock.patch.object(torch.onnx, "export", _kept_or_exported):
        yield


def _kept_or_exported(
    graph: nn.Module, examples: tuple[Tensor], **options: Any
) -> torch.onnx.ONNXProgram | None:
    key = _key(graph, *examples, options)
    if key not in _kept:
        _kept[key] = _export(graph, examples, **options)
    return _kept[key]


def _key(graph: nn.Module, example: Tensor, options: dict[str, Any]) -> str:
    """Of all that a graph is made of: modules with their settings, weights, shapes, names and free sizes."""
    settings = [getattr(part, "config", None) for part in graph.modules()]
    digest = hashlib.sha256(f"{graph} {settings} {tuple(example.shape)} {example.dtype} {options}".encode())
    for name, tensor in graph.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
