"""`evaluate.torch_encoder`: a torch model as an encoder."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diptych_training.evaluate.torch_encoder import PIXELS_AT_ONCE, TorchEncoder
from support.tiny_run import tiny_image_spec

SIZE = 256


class MeanColour(nn.Module):
    """An image tower that remembers how many images it saw at once."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.seen: list[int] = []

    def encode_image(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return images.mean(dim=(2, 3)) * self.scale + 2


def colours(n: int) -> np.ndarray:
    """Plain images (n, SIZE, SIZE, 3), no two alike."""
    levels = np.arange(n * 3, dtype=np.uint8).reshape(n, 1, 1, 3) * 7
    return np.broadcast_to(levels, (n, SIZE, SIZE, 3))


@pytest.fixture
def model() -> MeanColour:
    return MeanColour()


@pytest.fixture
def encoder(model: MeanColour) -> TorchEncoder:
    return TorchEncoder(model, tiny_image_spec())


def test_large_images_of_a_batch_go_through_a_cpu_a_few_at_a_time(
    model: MeanColour, encoder: TorchEncoder
) -> None:
    at_once = PIXELS_AT_ONCE // SIZE**2
    together = encoder.encode_image(colours(2 * at_once + 1))
    assert model.seen == [at_once, at_once, 1]
    alone = [encoder.encode_image(image[None]) for image in colours(2 * at_once + 1)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-6)
