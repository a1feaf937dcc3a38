"""A rewrite is kept when its rows agree, however fast the graph runs."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from diptych_training.export import onnx_files
from diptych_training.export.calibration import run_graph
from diptych_training.export.onnx_files import read_graph, write_graph
from diptych_training.export.optimise import Candidate, optimise
from diptych_training.export.optimise import run as run_module
from support.small_graphs import random_weights, small_graph

N_PRODUCTS = 40  # of the slow graph: enough to be slower than the fast one in any weather
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


def becomes(model: ModelProto, folder: Path) -> Candidate:
    made = folder / "made.onnx"
    write_graph(model, made)

    def rewrite(_source: Path, target: Path) -> bool:
        write_graph(read_graph(made), target)
        return True

    return Candidate("made", rewrite)


def test_graph_with_the_same_rows_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "slow.onnx", tmp_path / "target.onnx"
    write_graph(graph(N_PRODUCTS), source)
    said: list[str] = []
    (step,) = optimise(source, target, [IDS], said.append, [becomes(graph(0), tmp_path)])
    assert step.kept
    assert step.cosine_min >= run_module.MIN_COSINE
    assert len(read_graph(target).graph.node) == len(graph(0).graph.node)
    assert len(said) == 1
    assert "kept" in said[0]


def test_graph_with_other_rows_is_dropped(tmp_path: Path) -> None:
    source, target = tmp_path / "slow.onnx", tmp_path / "target.onnx"
    write_graph(graph(N_PRODUCTS), source)
    (step,) = optimise(source, target, [IDS], print, [becomes(graph(0, seed=1), tmp_path)])
    assert not step.kept
    assert step.cosine_min < 0.9
    assert read_graph(target) == read_graph(source)


def test_slower_graph_with_the_same_rows_is_kept_too(tmp_path: Path) -> None:
    """What is published does not depend on a time that a busy machine took."""
    source, target = tmp_path / "fast.onnx", tmp_path / "target.onnx"
    write_graph(graph(0), source)
    (step,) = optimise(source, target, [IDS], print, [becomes(graph(N_PRODUCTS), tmp_path)])
    assert step.kept
    assert len(read_graph(target).graph.node) == len(graph(N_PRODUCTS).graph.node)


def test_graph_without_the_pattern_is_copied_and_nothing_is_compared(tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    write_graph(graph(0), source)
    steps = optimise(source, target, [IDS], print)
    assert not any(step.changed or step.kept for step in steps)
    assert read_graph(target) == read_graph(source)


def test_all_given_batches_must_agree(tmp_path: Path) -> None:
    other = graph(0)
    (table,) = (t for t in other.graph.initializer if t.name == "table")
    values = np.frombuffer(table.raw_data, np.float32).reshape(9, 256).copy()
    values[8] += 1  # only ids that hold an 8 see it
    table.raw_data = values.tobytes()
    source = tmp_path / "slow.onnx"
    write_graph(graph(N_PRODUCTS), source)
    batches = [IDS, np.array([[8, 8]], np.int32)]
    (step,) = optimise(source, tmp_path / "target.onnx", batches, print, [becomes(other, tmp_path)])
    assert not step.kept


def test_graph_with_weights_beside_it_can_be_optimised_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "MAX_INLINE_BYTES", 1000)
    source = tmp_path / "slow.onnx"
    write_graph(graph(N_PRODUCTS), source)
    expected = run_graph(source, [IDS])
    candidate = becomes(graph(0), tmp_path)
    (step,) = optimise(source, source, [IDS], print, [candidate])
    assert step.kept
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in (source, source.with_name("slow.onnx.data")):
        shutil.move(file, moved / file.name)
    np.testing.assert_allclose(run_graph(moved / "slow.onnx", [IDS]), expected, atol=1e-5)
    assert not list(tmp_path.glob(".optimise-*"))


def test_a_rewrite_that_gives_no_graph_that_runs_is_dropped_and_says_why(tmp_path: Path) -> None:
    def breaks(source: Path, target: Path) -> bool:
        model = read_graph(source)
        model.graph.node[0].input[0] = "nowhere"
        target.write_bytes(model.SerializeToString())
        return True

    def raises(_source: Path, _target: Path) -> bool:
        raise KeyError("shape")

    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    write_graph(graph(2), source)
    said: list[str] = []
    candidates = [Candidate("breaks", breaks), Candidate("raises", raises)]
    steps = optimise(source, target, [IDS], said.append, candidates)
    assert [(step.name, step.kept, step.changed) for step in steps] == [
        ("breaks", False, True),
        ("raises", False, True),
    ]
    assert any("breaks: gave no graph that runs" in line and "nowhere" in line for line in said)
    assert read_graph(target) == read_graph(source)
