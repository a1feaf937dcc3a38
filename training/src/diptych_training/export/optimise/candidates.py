"""The rewrites that a published graph goes through, by its precision; measures nothing.

Each rewrite looks for its own pattern, so that the kind of a tower decides whether it applies: a tower
without QuickGELU has no factor to take out, one with texts of any length keeps items before tokens. No time
that is measured at an import or export decides: the same checkpoint gives the same graphs on every machine.
Gains were measured once, by `tests/benchmarks/optimise_steps.py`, and stand in the README.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto

from diptych_training.export.onnx_files import read_graph, write_graph
from diptych_training.export.optimise.ask_tokens import ask_tokens
from diptych_training.export.optimise.attend_first import attend_first
from diptych_training.export.optimise.attention_biases import attention_biases
from diptych_training.export.optimise.patches import patches_by_product
from diptych_training.export.optimise.pool_first import pool_first
from diptych_training.export.optimise.rows import tokens_as_rows
from diptych_training.export.optimise.silu import quick_gelu_as_silu
from diptych_training.export.optimise.tokens_first import tokens_first
from diptych_training.export.optimise.widths import wider_rows


@dataclass(frozen=True)
class Candidate:
    """One rewrite: `rewrite(source, target)` writes the new graph, or answers False when nothing is to do."""

    name: str
    rewrite: Callable[[Path, Path], bool]


def _in_place(change: Callable[[GraphProto], int]) -> Callable[[Path, Path], bool]:
    """A rewrite of files from one that changes a graph and tells how much of it."""

    def rewrite(source: Path, target: Path) -> bool:
        model = read_graph(source)
        if not change(model.graph):
            return False
        write_graph(model, target)
        return True

    return rewrite


# Of every precision: fewer operations or fewer passes over memory in any number format.
PORTABLE = (
    Candidate("pool before the last feed-forward", _in_place(pool_first)),
    Candidate("attend from the pooled token alone", _in_place(attend_first)),
    Candidate("embed patches by a matrix product", _in_place(patches_by_product)),
    Candidate("drop or fold biases of keys and values", _in_place(attention_biases)),
    Candidate("take the factor out of QuickGELU", _in_place(quick_gelu_as_silu)),
    Candidate("let tokens come before items", _in_place(tokens_first)),
)

# Of the float32 graph alone. int8 has fast keys and values: without them one image took 5% more time. It
# looks for products with matrices behind their normalisation, which rows hide, and its rows of bytes are no
# multiple of 4 KiB where those of float32 are.
FLOAT32 = (
    Candidate("let the pooled token ask tokens, not keys and values", _in_place(ask_tokens)),
    Candidate("keep tokens as rows, add biases within products", _in_place(tokens_as_rows)),
    Candidate("wider rows between feed-forward products", _in_place(wider_rows)),
)
