"""Squares for a model that takes patches of any grid, as SigLIP 2 does; knows nothing of texts."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from diptych_training.importing.hugging_face.library_types import DualEncoder, ImageProcessor


class SquareImages(nn.Module):
    """Images of S x S pixels through a vision tower of the library that wants patches and their grid.

    The position embeddings, which the library resizes for each image, are resized once, by its own function.
    """

    positions: Tensor

    def __init__(self, vision_model: DualEncoder, size: int) -> None:
        super().__init__()
        embeddings = vision_model.embeddings
        self.patch_size = int(embeddings.patch_size)
        self.grid = size // self.patch_size
        edge = embeddings.position_embedding_size
        table = embeddings.position_embedding.weight.detach().reshape(edge, edge, -1)
        shape = torch.tensor([[self.grid, self.grid]])
        positions = embeddings.resize_positional_embeddings(table, shape, max_length=self.grid**2)
        self.register_buffer("positions", positions)  # (1, grid * grid, width)

    def forward(self, vision_model: DualEncoder, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, D) features. All patches are real: no mask is needed."""
        patches = self._cut(pixels)  # (B, grid * grid, values of a patch)
        hidden = vision_model.embeddings.patch_embedding(patches) + self.positions
        hidden = vision_model.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        features: Tensor = vision_model.head(vision_model.post_layernorm(hidden))
        return features

    def _cut(self, pixels: Tensor) -> Tensor:
        """Rows of patch_size * patch_size * 3 values, channel last, top left first, as the library cuts."""
        grid, patch = self.grid, self.patch_size
        patches = pixels.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1)
        return patches.reshape(-1, grid * grid, patch * patch * 3)


def prepare_squares(
    processor: ImageProcessor, size: int, patch_size: int, images: Sequence[Image.Image]
) -> dict[str, Any]:
    """N images -> what the library's whole model takes, through its own processor.

    Squashed to the square first; with as many patches as the square has, the processor keeps its size.
    """
    squares = [image.resize((size, size), processor.resample) for image in images]
    return dict(processor(images=squares, max_num_patches=(size // patch_size) ** 2, return_tensors="pt"))
