"""Write the two towers of a model as ONNX files with the bundle's signatures; knows nothing of runs."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.bundle.manifest import ImageSpec, TextSpec

OPSET = 20
MAX_BATCH = 4096  # only bounds the exporter's reasoning about the batch; the file itself takes any batch
MIN_LENGTH = 2  # every text has its start and its end


class ImageGraph(nn.Module):
    """pixels (B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm: scaling and layout are part of the graph.

    The model is any module with CLIP's `encode_image`: (B, 3, S, S) float, normalised -> (B, D) features.
    ``(pixels / 255 - mean) / std`` is folded into one multiplication and one addition for each value.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, model: nn.Module, spec: ImageSpec) -> None:
        super().__init__()
        mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
        self.model = model
        self.register_buffer("gain", (1 / (255 * std)).float())
        self.register_buffer("offset", (-mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """The whole image tower."""
        normalised = (pixels.float() * self.gain + self.offset).permute(0, 3, 1, 2)  # (B, 3, S, S)
        return F.normalize(self.model.encode_image(normalised), dim=-1)  # type: ignore[operator]


class TextGraph(nn.Module):
    """input_ids (B, L) int32 -> (B, D) float32 of unit norm.

    The model is any module with CLIP's `encode_text`: (B, L) int64 -> (B, D) features.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """The whole text tower."""
        return F.normalize(self.model.encode_text(input_ids.long()), dim=-1)  # type: ignore[operator]


def write_image_graph(model: nn.Module, spec: ImageSpec, path: Path) -> None:
    """Export the image tower of a model in evaluation mode; the batch stays dynamic."""
    # Two examples: a batch of one would be taken for a constant.
    example = torch.zeros((2, spec.size, spec.size, 3), dtype=torch.uint8)
    batch = torch.export.Dim("B", min=1, max=MAX_BATCH)
    _write(ImageGraph(model, spec), example, path, names=("pixels", "image_embedding"), dynamic={0: batch})


def write_text_graph(model: nn.Module, spec: TextSpec, path: Path) -> None:
    """Export the text tower of a model in evaluation mode; batch and length stay dynamic."""
    # A length that is neither 1 nor context_length, or the exporter would take it for a constant.
    example = torch.zeros((3, max(MIN_LENGTH, spec.context_length // 2)), dtype=torch.int32)
    batch = torch.export.Dim("B", min=1, max=MAX_BATCH)
    length = torch.export.Dim("L", min=MIN_LENGTH, max=spec.context_length)
    _write(
        TextGraph(model),
        example,
        path,
        names=("input_ids", "text_embedding"),
        dynamic={0: batch, 1: length},
    )


def _write(
    graph: nn.Module, example: Tensor, path: Path, *, names: tuple[str, str], dynamic: dict[int, object]
) -> None:
    # The names matter to the exporter: an output that is called like one of its operators, such as
    # `embedding`, gives a file that onnxruntime refuses.
    with warnings.catch_warnings():
        # torch's exporter still uses a part of torch that torch deprecates.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        torch.onnx.export(
            graph.eval(),
            (example,),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=(dynamic,),
            external_data=False,
            verbose=False,
        )
