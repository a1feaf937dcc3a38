"""A rewrite is kept when its rows agree."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.graph import Graph
from diptych_training.export.optimise import Rewrite, Step, optimise
from diptych_training.export.proof.calibration import Batch
from support.small_graphs import random_weights, small_graph

N_PRODUCTS = 40
IDS = np.array([[1, 2, 3], [4, 5, 6]], np.int32)


def graph(n_products: int, seed: int = 0) -> ModelProto:
    """`n_products` multiplications by a matrix and back by its inverse, which come to nothing."""
    names = ["h0", *(f"h{index + 1}" for index in range(n_products))]
    products = "\n".join(f"{after} = MatMul ({before}, turn)" for before, after in itertools.pairwise(names))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((256, 256)))
    half_turn = turn @ np.diag(np.where(np.arange(256) % 2, 1.0, -1.0)) @ turn.T  # its own inverse
    return small_graph(
        f"""g (int32[B,L] input_ids) => (float[B,256] text_embedding) {{
            tokens = Gather (table, input_ids)
            h0 = ReduceSum <keepdims = 0> (tokens, axis)
            {products}
            text_embedding = LpNormalization (h{n_products})
        }}""",
        random_weights(seed, table=(9, 256)) | {"turn": half_turn.astype(np.float32), "axis": np.array([1])},
    )


def optimised(file: Path, rewrites: dict[str, Rewrite], batches: Sequence[Batch] = (IDS,)) -> list[Step]:
    return optimise(file, batches, print, rewrites)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The graph with many products."""
    write_graph(graph(N_PRODUCTS), tmp_path / "text.onnx")
    return tmp_path / "text.onnx"


def test_graph_with_the_same_rows_is_kept(file: Path) -> None:
    said: list[str] = []
    (step,) = optimise(file, [IDS], said.append, {"made": lambda _: graph(0)})
    assert step.kept
    assert len(read_graph(file).graph.node) == len(graph(0).graph.node)
    (line,) = said
    assert "kept" in line


def test_graph_with_other_rows_is_dropped(file: Path) -> None:
    before = file.read_bytes()
    (step,) = optimised(file, {"made": lambda _: graph(0, seed=1)})
    assert not step.kept
    assert step.cosine_min < 0.9
    assert file.read_bytes() == before


def test_a_rewrite_that_gives_no_graph_that_runs_is_dropped_and_says_why(file: Path) -> None:
    def breaks(_: Graph) -> ModelProto:
        model = graph(0)
        model.graph.node[0].input[0] = "nowhere"
        return model

    def raises(_: Graph) -> ModelProto:
        raise KeyError("shape")

    before, said = file.read_bytes(), list[str]()
    steps = optimise(file, [IDS], said.append, {"breaks": breaks, "raises": raises})
    assert [(step.name, step.kept, step.changed) for step in steps] == [
        ("breaks", False, True),
        ("raises", False, True),
    ]
    assert any("breaks: gave no graph that runs" in line and "nowhere" in line for line in said)
    assert file.read_bytes() == before
