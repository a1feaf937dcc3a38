"""Models that share the part for photographs have it computed once, and embed the same."""

import numpy as np
import pytest
import torch

from diptych_training.evaluate.torch_encoder import Photographs, TorchEncoder
from diptych_training.models import build_model
from diptych_training.models.efficientnet_lite import EfficientNetLite
from support.tiny_run import TINY_PAIR, tiny_clip, tiny_image_spec

SIZE = 64


def test_pictures_are_embedded_as_without_it_and_the_part_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_clip(TINY_PAIR, image_size=SIZE)).eval()
    spec = tiny_image_spec().model_copy(update={"size": SIZE})
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    plain, photographs = TorchEncoder(model, spec).encode_image(pixels), Photographs()

    np.testing.assert_allclose(TorchEncoder(model, spec, photographs).encode_image(pixels), plain, atol=1e-6)
    monkeypatch.setattr(EfficientNetLite, "pooled", None)
    other = build_model(tiny_clip(TINY_PAIR, image_size=SIZE)).eval()
    other.visual.photographs.load_state_dict(model.visual.photographs.state_dict())
    assert not np.allclose(TorchEncoder(other, spec, photographs).encode_image(pixels), plain)
    with pytest.raises(TypeError):
        TorchEncoder(other, spec, photographs).encode_image(255 - pixels)
