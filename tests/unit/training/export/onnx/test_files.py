"""Graphs are written without notes on how and where they were made."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from diptych_training.export.onnx.files import read_graph, write_graph

NOTE = 'File "/home/somebody/model.py", line 3'


def noted_model() -> onnx.ModelProto:
    """``y = twice(x)`` where x is positive, else 0; each of its parts has notes."""
    shape = [2]
    inner = helper.make_node("Add", ["a", "a"], ["b"])
    function = helper.make_function("own", "twice", ["a"], ["b"], [inner], [helper.make_opsetid("", 20)])
    twice = helper.make_node("twice", ["x"], ["z"], domain="own")
    end = helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)
    zero = helper.make_tensor("zero", TensorProto.FLOAT, shape, [0.0, 0.0])
    otherwise = helper.make_node("Identity", ["zero"], ["w"])
    other_end = helper.make_tensor_value_info("w", TensorProto.FLOAT, shape)
    branches = {
        "then_branch": helper.make_graph([twice], "then", [], [end]),
        "else_branch": helper.make_graph([otherwise], "else", [], [other_end]),
    }
    choose = helper.make_node("If", ["is_positive"], ["y"], **branches)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    condition = helper.make_tensor_value_info("is_positive", TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph([choose], "g", [given, condition], [out], [zero])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10)
    branch = model.graph.node[0].attribute[0].g
    parts = [model, model.graph, given, zero, branch, branch.node[0], branch.output[0]]
    parts += [model.graph.node[0], model.graph.initializer[0], model.graph.input[0], model.graph.output[0]]
    parts += [model.functions[0], model.functions[0].node[0]]
    for part in parts:
        part.doc_string = NOTE
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=NOTE)
    model.graph.node[0].attribute[0].doc_string = NOTE
    return model


def test_written_graph_has_no_notes_and_gives_the_same(tmp_path: Path) -> None:
    model, file = noted_model(), tmp_path / "graph.onnx"
    onnx.save(model, tmp_path / "noted.onnx")
    assert NOTE.encode() in (tmp_path / "noted.onnx").read_bytes()

    write_graph(model, file)

    assert b"somebody" not in file.read_bytes()
    write_graph(read_graph(tmp_path / "noted.onnx"), tmp_path / "inlined.onnx")
    assert b"somebody" not in (tmp_path / "inlined.onnx").read_bytes()
    for name in ("noted.onnx", "graph.onnx", "inlined.onnx"):
        session = onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        given = {"x": np.array([1, 2], np.float32), "is_positive": np.array(True)}
        assert session.run(None, given)[0].tolist() == [2, 4]
