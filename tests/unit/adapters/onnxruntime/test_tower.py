"""One graph on a simulated GPU."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.encoder import IMAGE_EMBEDDING, PIXELS, TEXT_EMBEDDING
from diptych.adapters.onnxruntime.tower import Tower
from diptych.errors import BundleError, ConfigError, EncoderFailed
from support.fake_onnxruntime import FakeCuda
from support.tiny_graphs import COLOURS, image_graph, image_reference, make_weights

WEIGHTS = make_weights(
    {word: n for n, word in enumerate(("pad", *COLOURS))}, 0, image_size=8, embed_dim=16, seed=0
)
RANDOM = np.random.default_rng(0)


def pixels(n_items: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (n_items, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graphs") / "image.onnx"
    onnx.save(image_graph(WEIGHTS), file)
    return file


def tower(file: Path) -> Tower:
    return Tower(file, PIXELS, IMAGE_EMBEDDING, n_threads=1, device="cuda")


@pytest.mark.parametrize("n_items", [1, 3, 9])
def test_batches_of_any_size_run_on_the_gpu(file: Path, cuda: FakeCuda, n_items: int) -> None:
    batch = pixels(n_items)
    np.testing.assert_allclose(tower(file).run(batch, None), image_reference(WEIGHTS, batch), atol=1e-5)
    assert cuda.ran == [batch.shape]


def test_closed_tower_is_freed_and_runs_nothing(file: Path, cuda: FakeCuda) -> None:
    found = tower(file)
    found.close()
    assert cuda.n_freed == 1
    with pytest.raises(EncoderFailed, match="the encoder is closed"):
        found.run(pixels(2), None)
    found.close()


def test_graph_with_other_ports_is_refused_and_freed(file: Path, cuda: FakeCuda) -> None:
    with pytest.raises(BundleError, match=r"image\.onnx: the output must be"):
        Tower(file, PIXELS, TEXT_EMBEDDING, n_threads=1, device="cuda")
    assert cuda.n_freed == 1


def test_graph_without_any_cuda_operator_is_refused_and_freed(file: Path, cuda: FakeCuda) -> None:
    cuda.cpu_operators = tuple({node.op_type for node in onnx.load(file).graph.node})
    with pytest.raises(ConfigError, match="runs none of its operators"):
        tower(file)
    assert cuda.n_freed == 1
