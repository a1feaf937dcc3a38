"""Graph surgery of int8, on small graphs written by hand: what is found, left alone, and stays equal."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from diptych_training.export.int8 import scales
from diptych_training.export.int8.layers import (
    EmbeddingTable,
    MatMulGroup,
    find_layers,
    forms_of,
)
from diptych_training.export.int8.observe import observe, open_model, run
from diptych_training.export.int8.products import static_rewrite
from diptych_training.export.int8.scales import weight_steps
from diptych_training.export.int8.smooth_quant import SmoothedInput, smooth
from diptych_training.export.int8.write import Quantiser, replaced, tensors_to_observe
from diptych_training.export.onnx.graph import Graph, rebuilt
from diptych_training.export.onnx.patterns import PatchEmbedding

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
COARSER = 127 / weight_steps()  # 1, or 2 where weights have 7 bits


@pytest.fixture(autouse=True)
def _the_same_numbers_in_every_order_of_tests() -> None:
    RNG.bit_generator.state = START


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def node(op_type: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op_type, inputs.split(), [output], name=output, **attributes)


def graph_of(
    nodes: list[NodeProto],
    constants: dict[str, np.ndarray],
    shape: list[object],
    dtype: int = TensorProto.FLOAT,
) -> Graph:
    """A graph from `x` to `y`."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    source = helper.make_tensor_value_info("x", dtype, shape)
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "small", [source], [target], tensors)
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def outcome(model: ModelProto, x: np.ndarray) -> np.ndarray:
    with TemporaryDirectory() as folder:
        return run(open_model(model, Path(folder)), x)


def quantised(graph: Graph, x: np.ndarray, folder: Path, **forms: str) -> ModelProto:
    layers = find_layers(graph)
    stats = observe(graph, tensors_to_observe(graph, layers), [x], folder)
    plan = {layer.name: forms.get(layer.name, "static") for layer in layers}
    return Quantiser(graph, layers, stats).build(plan)  # type: ignore[arg-type]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("form", ["static", "rows", "float"])
@pytest.mark.parametrize("shape", [(6, 40), (2, 5, 40)])
def test_every_form_of_a_product_follows_float(form: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    graph = graph_of(nodes, {"w": floats(40, 24), "b": floats(24)}, ["B", *shape[1:]])
    x = floats(*shape)
    model = quantised(graph, x, tmp_path, m=form)
    assert relative_error(outcome(model, x), outcome(graph.model, x)) < (1e-6 if form == "float" else 0.02)


def test_small_probabilities_count_in_a_product_of_a_softmax(tmp_path: Path) -> None:
    nodes = [node("Softmax", "x", "p"), node("MatMul", "p w", "m"), node("Add", "m b", "y")]
    graph = graph_of(nodes, {"w": 1 + floats(2000, 24), "b": 0.01 * floats(24)}, ["B", 2000])
    x = floats(6, 2000)
    x[:, 0] += 7  # as much as all others together
    (layer,) = find_layers(graph)
    assert forms_of(layer) == ("weights", "float")

    model = quantised(graph, x, tmp_path, m="weights")

    assert relative_error(outcome(model, x), outcome(graph.model, x)) < 0.01 * COARSER
    assert model.ByteSize() < 0.3 * graph.model.ByteSize()


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize(("operator", "rank"), [("MatMul", 2), ("Conv", 4)])
def test_sums_of_the_largest_codes_are_not_cut_off(
    operator: str, rank: int, saturates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of 7 bits, and with those of 8 bits that another machine exported."""
    monkeypatch.setattr(scales, "may_saturate", lambda: saturates)
    shape, weight = ([4, 64], [64, 16]) if rank == 2 else ([4, 64, 8, 8], [16, 64, 1, 1])
    graph = graph_of([node(operator, "x w", "y")], {"w": np.ones(weight, np.float32)}, ["B", *shape[1:]])
    model = quantised(graph, np.ones(shape, np.float32), tmp_path)
    np.testing.assert_allclose(outcome(model, np.ones(shape, np.float32)), 64, rtol=0.01)


def test_a_table_of_embeddings_keeps_each_row(tmp_path: Path) -> None:
    table = floats(1024, 64) * np.geomspace(1e-3, 10, 1024, dtype=np.float32)[:, None]
    graph = graph_of([node("Gather", "table x", "y")], {"table": table}, ["B", "L"], TensorProto.INT32)
    assert find_layers(graph) == [EmbeddingTable("y")]
    x = np.array([[0, 5], [1023, 500]], np.int32)
    model = quantised(graph, x, tmp_path)
    assert (
        np.abs(outcome(model, x) / table[x] - 1)[
            np.abs(table[x]) > 0.3 * np.abs(table[x]).max(-1, keepdims=True)
        ].max()
        < 0.05 * COARSER
    )
    assert model.ByteSize() < 0.3 * graph.model.ByteSize()


def patch_graph(size: int, **attributes: object) -> Graph:
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("Mul", "f gain", "scaled"),
        node("Add", "scaled offset", "normalised"),
        node("Transpose", "normalised", "planes", perm=[0, 3, 1, 2]),
        node("Conv", "planes w b", "y", strides=[8, 8], **attributes),
    ]
    gain, offset = np.array([0.01, 0.02, 0.03], np.float32), np.array([-1, -2, -3], np.float32)
    constants = {"w": floats(32, 3, 8, 8), "b": floats(32), "gain": gain, "offset": offset}
    return graph_of(nodes, constants, ["B", size, size, 3], TensorProto.UINT8)


@pytest.mark.parametrize("size", [32, 37])
def test_patches_are_read_from_the_pixels(size: int, tmp_path: Path) -> None:
    graph = patch_graph(size)
    (layer,) = find_layers(graph)
    assert isinstance(layer, PatchEmbedding)
    x = RNG.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    model = quantised(graph, x, tmp_path)
    found, expected = outcome(model, x), outcome(graph.model, x)
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 0.01 * COARSER
    assert "Conv" not in {each.op_type for each in model.graph.node}


def residual_graph() -> Graph:
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1]),
        node("Relu", "c0", "r0"),
        node("MaxPool", "r0", "p0", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p0 w1 b1", "c1", pads=[1, 1, 1, 1], group=16),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2"),
        node("Add", "c2 p0", "a"),
        node("Relu", "a", "r2"),
        node("GlobalAveragePool", "r2", "g"),
        node("Flatten", "g", "y"),
    ]
    constants = {
        "w0": floats(16, 3, 3, 3), "b0": floats(16), "w1": floats(16, 1, 3, 3), "b1": floats(16),
        "w2": floats(16, 16, 1, 1), "b2": floats(16),
    }  # fmt: skip
    return graph_of(nodes, constants, ["B", 3, 16, 16])


@pytest.mark.parametrize("kept_float", [(), ("c0",), ("c1",), ("c2",), ("c0", "c1", "c2")])
def test_convolutions_follow_float_whichever_are_quantised(
    kept_float: tuple[str, ...], tmp_path: Path
) -> None:
    graph, x = residual_graph(), floats(4, 3, 16, 16)
    model = quantised(graph, x, tmp_path, **dict.fromkeys(kept_float, "float"))
    assert relative_error(outcome(model, x), outcome(graph.model, x)) < 0.03 * COARSER
    n_relu = sum(each.op_type == "Relu" for each in model.graph.node)
    assert n_relu == len([name for name in kept_float if name != "c2"]) or kept_float


def test_a_relu6_is_part_of_its_convolution(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w0 b0", "c0"),
        node("Clip", "c0 zero six", "r0"),
        node("Conv", "r0 w1", "c1"),
        node("Clip", "c1 one six", "r1"),  # another Clip is none
        node("Conv", "r1 w2", "y"),
    ]
    bounds = {"zero": np.float32(0), "one": np.float32(1), "six": np.float32(6)}
    weights = {
        "w0": floats(8, 3, 3, 3),
        "b0": 4 * floats(8),
        "w1": floats(8, 8, 1, 1),
        "w2": floats(4, 8, 1, 1),
    }
    graph, x = graph_of(nodes, weights | bounds, ["B", 3, 16, 16]), floats(4, 3, 16, 16)

    model = quantised(graph, x, tmp_path)

    assert {each.name for each in model.graph.node if each.op_type == "Clip"} == {"r1"}
    assert relative_error(outcome(model, x), outcome(graph.model, x)) < 0.03 * COARSER


def test_a_float_convolution_between_quantised_ones_keeps_its_kernels(tmp_path: Path) -> None:
    """onnxruntime would quantise them with one scale, stretched by a channel that has no values."""
    graph, x = residual_graph(), floats(4, 3, 16, 16)
    changed = {name: numpy_helper.to_array(graph.constants[name]).copy() for name in ("b0", "w1")}
    changed["b0"][0] = -100  # cut off by the Relu behind it
    changed["w1"][0] = 1000
    for name, values in changed.items():
        graph.constants[name].CopyFrom(numpy_helper.from_array(values, name))

    model = quantised(graph, x, tmp_path, c1="float")

    assert relative_error(outcome(model, x), outcome(graph.model, x)) < 0.03 * COARSER


def test_quantised_convolutions_run_on_integer_kernels(tmp_path: Path) -> None:
    graph, x = residual_graph(), floats(4, 3, 16, 16)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = quantised(graph, x, tmp_path)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    types = [each.op_type for each in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert types.count("QLinearConv") == 3
    assert "Conv" not in types


def normalised_graph(n_readers: int = 2) -> Graph:
    nodes = [
        node("LayerNormalization", "x gain shift", "n", axis=-1),
        *[node("MatMul", f"n w{i}", f"m{i}") for i in range(n_readers)],
        node("Sum", " ".join(f"m{i}" for i in range(n_readers)), "y"),
    ]
    gain = np.ones(48, np.float32)
    gain[[3, 17]] = 50
    weights = {f"w{i}": floats(48, 12) for i in range(n_readers)}
    return graph_of(nodes, {"gain": gain, "shift": floats(48), **weights}, ["B", 5, 48])


def only_products(graph: Graph) -> MatMulGroup:
    (layer,) = find_layers(graph)
    assert isinstance(layer, MatMulGroup)
    return layer


def test_outliers_behind_a_normalisation_are_levelled_inside_it(tmp_path: Path) -> None:
    graph, x = normalised_graph(), floats(16, 5, 48)
    layer = only_products(graph)
    stats = observe(graph, ["n"], [x], tmp_path)["n"]
    found = smooth(graph, layer, stats)
    assert found.source == "n"
    assert [each.op_type for each in found.nodes] == ["LayerNormalization"]
    peaks = [np.maximum(-each.lows, each.highs) for each in (found.stats, stats)]
    assert np.ptp(np.log(peaks[0])) < 0.6 * np.ptp(np.log(peaks[1]))
    expected = outcome(graph.model, x)
    plain = static_rewrite(graph, layer, SmoothedInput("n", stats, np.ones(48, np.float32)))
    errors = [
        relative_error(outcome(rebuilt(graph, nodes, constants), x), expected)
        for nodes, constants in (
            replaced(graph, [plain]),
            replaced(graph, [static_rewrite(graph, layer, found)]),
        )
    ]
    assert errors[1] < 0.5 * errors[0]
