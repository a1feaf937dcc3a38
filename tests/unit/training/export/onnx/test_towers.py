"""How towers become files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.checksums import describe_files
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.onnx import files
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.models import ModelConfig, TextConfig, build_model
from support.exported_once import exported_once
from support.tiny_run import CONTEXT_LENGTH, IMAGE_SIZE, TINY_VIT, tiny_image_spec, tiny_text_spec


@pytest.fixture(scope="module", autouse=True)
def _graphs_are_exported_once() -> Iterator[None]:
    with exported_once():
        yield


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


def test_small_weights_stay_in_the_graph(model: nn.Module, tmp_path: Path) -> None:
    write_text_graph(model, tiny_text_spec(), tmp_path / "text_encoder.onnx")

    assert [path.name for path in tmp_path.iterdir()] == ["text_encoder.onnx"]


class FixedLength(nn.Module):
    """Adds all of its positions, as towers do that know one length only."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(600, 16)
        self.positions = nn.Parameter(torch.randn(CONTEXT_LENGTH, 16))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        return (self.tokens(input_ids) + self.positions).mean(dim=1)


@pytest.mark.long
def test_a_tower_of_one_length_is_exported_with_it_where_texts_are_padded_to_it(
    model: nn.Module, tmp_path: Path
) -> None:
    padded = tiny_text_spec().model_copy(update={"pad_to": "context_length"})
    fixed = FixedLength().eval()
    write_text_graph(fixed, padded, tmp_path / "text.onnx")
    write_image_graph(model, tiny_image_spec(), tmp_path / "image.onnx")
    input_ids = np.ones((5, CONTEXT_LENGTH), np.int32)

    rows = OnnxEncoder(tmp_path / "image.onnx", tmp_path / "text.onnx").encode_text(input_ids)

    assert np.allclose(rows, TorchEncoder(fixed, tiny_image_spec()).encode_text(input_ids), atol=1e-6)
    with pytest.raises(Exception, match=r"."):  # whatever the exporter makes of it
        write_text_graph(fixed, tiny_text_spec(), tmp_path / "longest.onnx")
