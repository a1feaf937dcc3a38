"""Graphs are written without notes on how and where they were made."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.checksums import describe_files
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.onnx import files
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.models import ModelConfig, TextConfig, build_model
from support.tiny_run import CONTEXT_LENGTH, IMAGE_SIZE, TINY_VIT, tiny_image_spec, tiny_text_spec

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


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    text = TextConfig(vocab_size=600, context_length=CONTEXT_LENGTH, width=32, layers=2, heads=2)
    return build_model(ModelConfig(embed_dim=16, image_size=IMAGE_SIZE, image=TINY_VIT, text=text)).eval()


def test_weights_above_the_limit_lie_in_a_file_of_their_own_and_load(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_INLINE_BYTES", 1000)
    image, text = tmp_path / "image_encoder.onnx", tmp_path / "text_encoder.onnx"
    write_image_graph(model, tiny_image_spec(), image)
    write_text_graph(model, tiny_text_spec(), text)
    pixels = np.random.default_rng(0).integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    input_ids = np.array([[1, 5, 599], [1, 599, 0]], np.int32)
    reference, encoder = TorchEncoder(model, tiny_image_spec()), OnnxEncoder(image, text)

    assert {"image_encoder.onnx.data", "text_encoder.onnx.data"} <= set(describe_files(tmp_path))
    assert np.allclose(encoder.encode_image(pixels), reference.encode_image(pixels), atol=1e-5)
    assert np.allclose(encoder.encode_text(input_ids), reference.encode_text(input_ids), atol=1e-5)
