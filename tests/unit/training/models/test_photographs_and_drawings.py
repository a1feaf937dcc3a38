"""The image tower of two, and the photographs' tower that keeps its classifier."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from diptych_training.config import LockConfig
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.int8.observe import open_file, run
from diptych_training.export.onnx.bundle_files import write_image_graph
from diptych_training.models import CLIP, PhotographsAndDrawingsConfig, build_model
from diptych_training.models.efficientnet_lite import EfficientNetLite
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.train.lock import lock
from support.tiny_run import EMBED_DIM, TINY_LITE, TINY_PAIR, TINY_RESNET, tiny_clip, tiny_image_spec

SIZE, PHOTOGRAPH_DIM = 64, TINY_PAIR.photograph_dim


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(1)
    return build_model(tiny_clip(TINY_PAIR, image_size=SIZE)).eval()


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def pair_of(model: CLIP) -> PhotographsAndDrawings:
    assert isinstance(model.visual, PhotographsAndDrawings)
    return model.visual


@torch.no_grad()
def test_a_drawing_has_the_features_of_the_drawings_tower_and_a_photograph_those_of_the_other(
    model: CLIP, pixels: Tensor
) -> None:
    pair = pair_of(model)
    drawing = F.normalize(pair.drawings(F.avg_pool2d(pixels, 2)), dim=1)
    photograph = F.normalize(pair.photographs(pixels), dim=1)
    nothing = torch.zeros_like(photograph)
    pair.gate.bias.fill_(-1e4)
    torch.testing.assert_close(model.encode_image(pixels), torch.cat([nothing, drawing], dim=1))
    pair.gate.bias.fill_(1e4)
    torch.testing.assert_close(model.encode_image(pixels), torch.cat([photograph, 0 * drawing], dim=1))


@torch.no_grad()
def test_the_gate_weighs_both_halves_for_each_image(model: CLIP, pixels: Tensor) -> None:
    weights = torch.sigmoid(pair_of(model).gate(pair_of(model).photographs.pooled(pixels)))[:, 0]
    halves = model.encode_image(pixels).tensor_split([PHOTOGRAPH_DIM], dim=1)
    torch.testing.assert_close(halves[0].norm(dim=1), weights)
    torch.testing.assert_close(halves[1].norm(dim=1), 1 - weights)


@torch.no_grad()
def test_a_feature_is_the_mean_of_the_classes_by_their_probabilities(pixels: Tensor) -> None:
    torch.manual_seed(0)
    tower = EfficientNetLite(TINY_LITE.model_copy(update={"classes": 5, "temperature": 2.0}), 4).eval()
    assert tower.classifier is not None
    scores = tower.classifier(tower.pooled(pixels)) / 2
    expected = scores.exp() / scores.exp().sum(dim=1, keepdim=True) @ tower.class_embedding
    torch.testing.assert_close(tower(pixels), expected)


def test_the_first_locked_layer_has_all_but_the_drawings_tower_above_its_stem(model: CLIP) -> None:
    lock(model, LockConfig(image=1))
    learns = {name for name, parameter in model.visual.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in learns} == {"drawings"}
    assert {name.split(".")[1] for name in learns} == {"layer1", "layer2", "attnpool"}


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"photograph_dim": EMBED_DIM}, SIZE, "image.photograph_dim is 16, it must be below embed_dim, 16"),
        ({}, 48, "image_size 48 is not a multiple of the stride 32"),
        ({"drawing_size": 40}, 160, None),
    ],
)
def test_sizes_must_fit(changes: dict[str, int], size: int, message: str | None) -> None:
    def build() -> None:
        image = PhotographsAndDrawingsConfig.model_validate(TINY_PAIR.model_dump() | changes)
        tiny_clip(image, image_size=size)

    if message is None:
        build()
        return
    with pytest.raises(ValidationError, match=message):
        build()


def test_the_size_of_a_drawing_must_fit_its_tower() -> None:
    with pytest.raises(ValidationError, match="drawing_size 33 is not a multiple of the stride 4"):
        PhotographsAndDrawingsConfig(
            photograph_dim=4, photographs=TINY_LITE, drawing_size=33, drawings=TINY_RESNET
        )


@pytest.mark.long
def test_an_exported_tower_gives_the_embeddings_of_torch(model: CLIP, tmp_path) -> None:
    spec = tiny_image_spec().model_copy(update={"size": SIZE})
    write_image_graph(model, spec, tmp_path / "image.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    session = open_file(tmp_path / "image.onnx")
    reference = TorchEncoder(model, spec).encode_image(pixels)
    np.testing.assert_allclose(run(session, pixels), reference, atol=1e-5)
    np.testing.assert_allclose(run(session, pixels[:1]), reference[:1], atol=1e-5)
