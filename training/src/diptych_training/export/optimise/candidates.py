"""The rewrites that a published graph may go through; measures nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych_training.export.onnx_files import has_external_data, read_graph, write_graph
from diptych_training.export.optimise.pool_first import pool_first


@dataclass(frozen=True)
class Candidate:
    """One rewrite: `rewrite(source, target)` writes the new graph, or answers False when nothing is to do."""

    name: str
    rewrite: Callable[[Path, Path], bool]


def _pool_first(source: Path, target: Path) -> bool:
    model = read_graph(source)
    if not pool_first(model.graph):
        return False
    write_graph(model, target, external_data=has_external_data(source))
    return True


PORTABLE = (Candidate("pool before the last feed-forward", _pool_first),)
