"""The float16 files of real towers follow float32 torch, whatever stands beside an item in its batch."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.onnx.bundle_files import (
    ImageGraph,
    TextGraph,
    write_image_graph,
    write_text_graph,
)
from diptych_training.export.proof.parity import row_cosines
from diptych_training.models import ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from support.tiny_run import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    TINY_RESNET,
    TINY_STEMMED_VIT,
    TINY_VIT,
    tiny_image_spec,
    tiny_text_spec,
)

MIN_COSINE = 0.999  # the bound of the gate
N_ITEMS = 24
VOCAB_SIZE = 3000  # ids beyond 2,048 are not exact in float16


class Towers:
    """One random model, its float32 files, its float16 files, and torch's own rows."""

    def __init__(self, folder: Path, image: ResNetConfig | ViTConfig) -> None:
        text = TextConfig(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=32, layers=3, heads=2)
        config = ModelConfig(embed_dim=16, image_size=IMAGE_SIZE, image=image, text=text)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(config).eval()
        self.model = model
        write_image_graph(model, tiny_image_spec(), folder / "image.onnx")
        write_text_graph(model, tiny_text_spec(), folder / "text.onnx")
        self.folder, self.image = folder, image
        self.half = [folder / "image.fp16.onnx", folder / "text.fp16.onnx"]
        write_fp16(folder / "image.onnx", self.half[0])
        write_fp16(folder / "text.onnx", self.half[1])
        self.pixels, self.ids = draw_pixels(), draw_ids()
        with torch.no_grad():
            self.image_rows = ImageGraph(model, tiny_image_spec())(torch.from_numpy(self.pixels)).numpy()
            self.text_rows = TextGraph(model)(torch.from_numpy(self.ids)).numpy()


def draw_pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (N_ITEMS, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)


def draw_ids() -> NDArray[np.int32]:
    """The end of text is the largest id; its neighbour is as close as ids can be."""
    rng = np.random.default_rng(2)
    ids = rng.integers(1, VOCAB_SIZE - 2, (N_ITEMS, CONTEXT_LENGTH)).astype(np.int32)
    ends = rng.integers(3, CONTEXT_LENGTH, N_ITEMS)
    ids[np.arange(N_ITEMS), ends] = VOCAB_SIZE - 1
    ids[np.arange(N_ITEMS), 1] = VOCAB_SIZE - 2
    return ids


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(TINY_VIT, id="vit"),
        pytest.param(TINY_STEMMED_VIT, id="stem", marks=pytest.mark.long),
        pytest.param(TINY_RESNET, id="resnet", marks=pytest.mark.long),
    ],
)
def towers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Towers:
    return Towers(tmp_path_factory.mktemp("towers"), request.param)


def test_float16_files_follow_float32_torch(towers: Towers) -> None:
    encoder = OnnxEncoder(*towers.half, n_threads=1)
    assert row_cosines(towers.image_rows, encoder.encode_image(towers.pixels)).min() >= MIN_COSINE
    assert row_cosines(towers.text_rows, encoder.encode_text(towers.ids)).min() >= MIN_COSINE


def test_float16_row_does_not_depend_on_its_neighbours(towers: Towers) -> None:
    encoder = OnnxEncoder(*towers.half, n_threads=1)
    for encode, batch in ((encoder.encode_image, towers.pixels), (encoder.encode_text, towers.ids)):
        together = encode(batch)  # type: ignore[operator]
        alone = np.concatenate([encode(batch[i : i + 1]) for i in range(N_ITEMS)])  # type: ignore[operator]
        assert row_cosines(alone, together).min() >= MIN_BATCH_COSINE


def test_all_matrix_products_and_convolutions_compute_in_float16(towers: Towers) -> None:
    for file in towers.half:
        graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
        ports = (*graph.value_info, *graph.output)
        types = {port.name: port.type.tensor_type.elem_type for port in ports}
        heavy = [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
        assert heavy
        assert {types[node.output[0]] for node in heavy} == {TensorProto.FLOAT16}
