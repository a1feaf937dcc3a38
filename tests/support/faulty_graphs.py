"""An image graph that is sound but for pictures of a few greys, each of which makes it fail in its own way.

onnx.save(faulty(image_graph(weights)), file)
picture(grey("hang"))       # a picture that it never finishes
"""

from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Failure = Literal["hang", "deaf", "raise", "nan", "long"]
# All channels of all pixels have this value, and no others trigger it.
GREYS: dict[Failure, int] = {
    "hang": 251,  # a loop without end; a stop ends it
    "deaf": 247,  # one operator that takes many minutes; nothing ends it
    "raise": 241,  # an index out of bounds
    "nan": 239,  # a row of NaN, beside rows that are right
    "long": 233,  # a row of norm 2, beside rows that are right
}
ENDLESS = 10**12  # rounds of a loop
N_BOXES = (
    2_000_000  # whose overlaps are looked at pair by pair: 10,000 take 0.06 s, and it grows by the square
)


def grey(failure: Failure) -> tuple[int, int, int]:
    """The colour that triggers the failure."""
    return (GREYS[failure],) * 3


def faulty(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same embeddings, unless an image of the batch is of one of the greys."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    output, sound = model.graph.output[0].name, "sound"
    model.graph.node[-1].output[0] = sound
    constants: dict[str, NDArray[np.generic] | np.generic] = {
        "over_image": np.array([1, 2, 3], np.int64),
        "nothing": np.float32(0),
        **{f"{name}_grey": np.float32(value) for name, value in GREYS.items()},
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["looked_at"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["looked_at", "over_image"], ["darkest"], keepdims=0),  # (B,)
        helper.make_node("ReduceMax", ["looked_at", "over_image"], ["lightest"], keepdims=0),
        helper.make_node("Equal", ["darkest", "lightest"], ["is_flat"]),
        *(node for name in GREYS for node in _trigger(name)),
        *_hang(constants),
        *_deaf(constants),
        *_raise(constants),
        *_rows(constants),
        helper.make_node("Sum", ["hang_zero", "deaf_zero", "raise_zero"], ["zero"]),
        helper.make_node("Add", ["long_row", "zero"], [output]),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    onnx.checker.check_model(model)
    return model


def _trigger(name: Failure) -> list[NodeProto]:
    """`is_<name>` (B,) and `any_<name>`, a scalar of 0 or 1."""
    return [
        helper.make_node("Equal", ["darkest", f"{name}_grey"], [f"{name}_like"]),
        helper.make_node("And", [f"{name}_like", "is_flat"], [f"is_{name}"]),
        helper.make_node("Cast", [f"is_{name}"], [f"{name}_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", [f"{name}_number"], [f"any_{name}"], keepdims=0),
    ]


def _hang(constants: dict[str, NDArray[np.generic] | np.generic]) -> list[NodeProto]:
    constants |= {"endless": np.float32(ENDLESS), "go_on": np.bool_(True)}
    carried = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("before", "after")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("still", "still_on")]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["still"], ["still_on"]),
            helper.make_node("Mul", ["before", "before"], ["after"]),
        ],
        "round",
        [helper.make_tensor_value_info("round_number", TensorProto.INT64, []), flags[0], carried[0]],
        [flags[1], carried[1]],
    )
    return [
        helper.make_node("Mul", ["any_hang", "endless"], ["rounds"]),
        helper.make_node("Cast", ["rounds"], ["n_rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["n_rounds", "go_on", "nothing"], ["hang_zero"], body=body),
    ]


def _deaf(constants: dict[str, NDArray[np.generic] | np.generic]) -> list[NodeProto]:
    constants |= {
        "many": np.float32(N_BOXES),
        "first": np.float32(0),
        "step": np.float32(1),
        "half_box": np.float32(0.5),
        "last_axis": np.array([1], np.int64),
        "first_axis": np.array([0], np.int64),
        "two_axes": np.array([0, 1], np.int64),
        "all_of_them": np.array([2**31 - 1], np.int64),
        "overlap": np.array([0.5], np.float32),
    }
    return [
        helper.make_node("Mul", ["any_deaf", "many"], ["n_boxes"]),
        helper.make_node("Range", ["first", "n_boxes", "step"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "last_axis"], ["corner"]),
        helper.make_node("Add", ["corner", "half_box"], ["other_corner"]),
        helper.make_node("Concat", ["corner", "corner", "other_corner", "other_corner"], ["flat"], axis=1),
        helper.make_node("Unsqueeze", ["flat", "first_axis"], ["boxes"]),  # (1, N, 4), all apart
        helper.make_node("Unsqueeze", ["scores", "two_axes"], ["box_scores"]),
        helper.make_node(
            "NonMaxSuppression", ["boxes", "box_scores", "all_of_them", "overlap"], ["selected"]
        ),
        helper.make_node("Shape", ["selected"], ["n_selected"], start=1),
        helper.make_node("Cast", ["n_selected"], ["selected_number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["selected_number", "nothing"], ["deaf_zero"]),
    ]


def _raise(constants: dict[str, NDArray[np.generic] | np.generic]) -> list[NodeProto]:
    constants["only_one"] = np.zeros(1, np.float32)
    return [
        helper.make_node("Cast", ["any_raise"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only_one", "place"], ["raise_zero"], axis=0),
    ]


def _rows(constants: dict[str, NDArray[np.generic] | np.generic]) -> list[NodeProto]:
    constants |= {
        "no_number": np.float32(np.nan),
        "twice": np.float32(2),
        "row_axis": np.array([1], np.int64),
    }
    return [
        helper.make_node("Unsqueeze", ["is_nan", "row_axis"], ["nan_rows"]),  # (B, 1)
        helper.make_node("Where", ["nan_rows", "no_number", "sound"], ["nan_row"]),
        helper.make_node("Unsqueeze", ["is_long", "row_axis"], ["long_rows"]),
        helper.make_node("Mul", ["nan_row", "twice"], ["doubled"]),
        helper.make_node("Where", ["long_rows", "doubled", "nan_row"], ["long_row"]),
    ]
