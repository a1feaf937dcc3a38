"""The end of a text is found without ArgMax over integers, at the same place; what cannot be is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych.adapters.onnxruntime.tensorrt_graph import graph_for_tensorrt, replace_argmax_by_reductions
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.errors import BundleError
from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.fp16.simulate import write_float16_simulation
from diptych_training.export.proof.parity import row_cosines
from support.clip_graphs import clip_text_graph
from support.default_model import default_bundle
from support.small_graphs import small_graph


def run_graph(graph: Path, batch: NDArray[np.int32]) -> NDArray[np.float32]:
    """(B, L) -> (B, D), on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rows: NDArray[np.float32] = session.run(None, {"input_ids": batch})[0]
    return rows


Model = Callable[[], tuple[Path, NDArray[np.int32]]]
END = 49407  # of CLIP: 49406 is its start, and the same number in float16
POOLED = """g (int32[B,L] ids, float[B,L,4] x) => (float[B,4] y) {
    long = Cast <to = 7> (ids)
    place = ArgMax <axis = -1, keepdims = 1, select_last_index = 0> (long)
    y = GatherND <batch_dims = 1> (x, place)
}"""


def ids() -> NDArray[np.int32]:
    """Rows as CLIP's tokenizer makes them: start, words, end, and ends for padding."""
    rows = np.full((4, 9), END, np.int32)
    rows[:, 0] = END - 1
    rows[0, 1:8], rows[1, 1], rows[2, 1:4] = 320, 49405, (2368, 537, 1929)
    rows[3, 1:] = 0  # padded with zeros behind an end
    rows[3, 3] = END
    return rows


def features() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((4, 9, 4)).astype(np.float32)


def replaced(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_replaced = replace_argmax_by_reductions(changed)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(changed), full_check=True)
    return changed, n_replaced


def test_text_is_read_at_its_first_largest_id_as_before() -> None:
    model = small_graph(POOLED, {})
    changed, n_replaced = replaced(model)
    assert n_replaced == 1
    assert not {"ArgMax", "TopK"} & {node.op_type for node in changed.graph.node}
    inputs = {"ids": ids(), "x": features()}
    (before,), (after,) = (ReferenceEvaluator(one).run(None, inputs) for one in (model, changed))
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(after, features()[np.arange(4), [8, 2, 4, 3]])


def default_text_graph() -> tuple[Path, NDArray[np.int32]]:
    """The file of the default model, and ids for it."""
    with np.load(default_bundle() / "golden.npz") as golden:
        return default_bundle() / "text_encoder.onnx", golden["input_ids"]


@pytest.mark.parametrize("model", [clip_text_graph, default_text_graph])
def test_model_embeds_its_texts_as_before(model: Model, tmp_path: Path) -> None:
    before, batch = model()
    after = tmp_path / "text_encoder.onnx"
    after.write_bytes(graph_for_tensorrt(before))
    np.testing.assert_array_equal(run_graph(before, batch), run_graph(after, batch))


@pytest.mark.parametrize("model", [clip_text_graph, default_text_graph])
def test_model_in_float16_keeps_its_bound_as_a_gpu_would_round_it(model: Model, tmp_path: Path) -> None:
    file, batch = model()
    half, replaced_half, simulated = (
        tmp_path / name for name in ("half.onnx", "plan.onnx", "rehearsed.onnx")
    )
    write_fp16(file, half)
    replaced_half.write_bytes(graph_for_tensorrt(half))
    write_float16_simulation(replaced_half, simulated)
    cosines = row_cosines(run_graph(file, batch), run_graph(simulated, batch))
    assert cosines.min() >= COSINE_BOUNDS["fp16"]


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("place = ArgMax <axis = 1, keepdims = 0, select_last_index = 1> (ids)", "ArgMax '' over integers"),
        ("place = ArgMin <axis = 1, keepdims = 0> (ids)", "ArgMin '' over integers"),
        ("place = ArgMax <axis = 0, keepdims = 0> (ids)", "ArgMax '' over integers"),
        ("values, place = TopK <axis = 1> (ids, one)", "TopK '' over integers"),
    ],
)
def test_choice_among_integers_that_cannot_be_replaced_is_refused_by_name(
    node: str, words: str, tmp_path: Path
) -> None:
    rank = "int64[B,1]" if "TopK" in node else "int64[N]"
    model = small_graph(f"g (int64[B,L] ids) => ({rank} place) {{ {node} }}", {"one": np.array([1])})
    with pytest.raises(BundleError, match=re.escape(words)):
        replaced(model)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(BundleError, match=r"a\.onnx: TensorRT may compute"):
        graph_for_tensorrt(tmp_path / "a.onnx")
