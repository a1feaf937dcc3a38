"""Our towers against open_clip's, with the same random weights: same names, same features."""

import open_clip
import pytest
import torch
from torch import nn

from diptych_training.models import CLIP, ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from diptych_training.models.config import Activation

TOLERANCE = 1e-5  # float32 rounding: sums are taken in another order
IMAGE_SIZE, CONTEXT_LENGTH, VOCAB_SIZE, EMBED_DIM = 64, 16, 60, 32
TEXT = TextConfig(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=32, layers=2, heads=2)
RESNET = ResNetConfig(layers=(1, 2, 1, 1), width=16, heads=8)
VIT = ViTConfig(patch_size=16, width=128, layers=2, heads=2)


def reference(vision: dict[str, object], *, quick_gelu: bool) -> nn.Module:
    torch.manual_seed(1)
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "width": 32, "heads": 2, "layers": 2}
    model = open_clip.CLIP(EMBED_DIM, {"image_size": IMAGE_SIZE, **vision}, text, quick_gelu=quick_gelu)
    for name, buffer in model.named_buffers():  # else every mean is 0 and every variance 1
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    for name, parameter in model.named_parameters():  # the zero-initialised gains would hide the convolutions
        if name.endswith("bn3.weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()


def ours(image: ResNetConfig | ViTConfig, their_model: nn.Module, activation: Activation) -> CLIP:
    config = ModelConfig(
        embed_dim=EMBED_DIM, image_size=IMAGE_SIZE, activation=activation, image=image, text=TEXT
    )
    model = build_model(config)
    model.load_state_dict(their_model.state_dict())  # strict: the names are the original's
    return model.eval()


VISIONS = [
    pytest.param(RESNET, {"layers": [1, 2, 1, 1], "width": 16, "head_width": 64}, id="resnet"),
    pytest.param(VIT, {"layers": 2, "width": 128, "head_width": 64, "patch_size": 16}, id="vit"),
]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("image", "vision"), VISIONS)
def test_image_features_equal_open_clip(image, vision, activation):
    their_model = reference(vision, quick_gelu=activation == "quick_gelu")
    model = ours(image, their_model, activation)
    pixels = torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        difference = (model.encode_image(pixels) - their_model.encode_image(pixels)).abs().max()
    assert difference <= TOLERANCE


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_text_features_equal_open_clip(activation):
    their_model = reference(
        {"layers": 2, "width": 128, "head_width": 64, "patch_size": 16}, quick_gelu=activation == "quick_gelu"
    )
    model = ours(VIT, their_model, activation)
    input_ids = torch.randint(0, VOCAB_SIZE - 1, (5, CONTEXT_LENGTH))
    input_ids[:, 9] = VOCAB_SIZE - 1
    with torch.no_grad():
        difference = (model.encode_text(input_ids) - their_model.encode_text(input_ids)).abs().max()
    assert difference <= TOLERANCE


def test_what_follows_the_end_of_text_changes_nothing():
    model = ours(VIT, reference({"layers": 2, "width": 128, "patch_size": 16}, quick_gelu=True), "quick_gelu")
    short = torch.randint(0, VOCAB_SIZE - 1, (4, 6))
    short[:, 5] = VOCAB_SIZE - 1
    padded = torch.cat([short, torch.zeros(4, CONTEXT_LENGTH - 6, dtype=torch.long)], dim=1)
    with torch.no_grad():
        assert torch.allclose(model.encode_text(short), model.encode_text(padded), atol=TOLERANCE)
