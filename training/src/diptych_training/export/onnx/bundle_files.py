"""Write a bundle's model files: the graphs of both towers, tokenizer, weights and architecture."""

import copy
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, TextSpec
from diptych_training.checkpoint import TrainedRun, write_tensors
from diptych_training.errors import ExportError
from diptych_training.export.onnx import files
from diptych_training.models import CLIP

OPSET = 20
MAX_BATCH = 4096  # bound for the exporter's symbolic batch size; the file itself accepts any batch
MIN_LENGTH = 2  # every text has a start and an end token


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
    # Two examples: the exporter would treat a batch of one as a constant.
    example = torch.zeros((2, spec.size, spec.size, 3), dtype=torch.uint8)
    names = ("pixels", "image_embedding")
    program = _export(ImageGraph(model, spec), example, names, {0: _batch()})
    _save(program, path)


def write_text_graph(model: nn.Module, spec: TextSpec, path: Path) -> None:
    """Export the text tower of a model in evaluation mode; batch and length stay dynamic.

    If every text is padded to the full length anyway, a tower with a fixed length is exported with that
    length. Weights of more than `files.MAX_INLINE_BYTES` go to `<path>.data`.
    """
    names = ("input_ids", "text_embedding")
    # A length that is neither 1 nor context_length, which the exporter would treat as a constant.
    example = torch.zeros((3, max(MIN_LENGTH, spec.context_length // 2)), dtype=torch.int32)
    length = torch.export.Dim("L", min=MIN_LENGTH, max=spec.context_length)
    try:
        program = _export(TextGraph(model), example, names, {0: _batch(), 1: length})
    except Exception:  # the exporter raises many kinds
        if spec.pad_to != "context_length":
            raise
        full = torch.zeros((3, spec.context_length), dtype=torch.int32)
        program = _export(TextGraph(model), full, names, {0: _batch()})
    _save(program, path)


def _batch() -> Any:
    return torch.export.Dim("B", min=1, max=MAX_BATCH)


def _export(
    graph: nn.Module, example: Tensor, names: tuple[str, str], dynamic: dict[int, Any]
) -> torch.onnx.ONNXProgram:
    # Output names must differ from operator names: with an output named `embedding`, onnxruntime rejects the
    # file.
    with warnings.catch_warnings():
        # torch's exporter uses a deprecated part of torch.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=(dynamic,),
            verbose=False,
        )
    assert program is not None
    return program


def _save(program: torch.onnx.ONNXProgram, path: Path) -> None:
    values = program.model.graph.initializers.values()
    n_bytes = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    program.save(path, external_data=n_bytes > files.MAX_INLINE_BYTES)
    files.remove_notes_of_file(path)


IMAGE_FILE, TEXT_FILE = "image_encoder.onnx", "text_encoder.onnx"
WEIGHTS_FILE, MODEL_FILE = "weights.safetensors", "model.json"
EXACT = "fp32"  # the precision from which all others are made


def graph_files(precision: str) -> tuple[str, str]:
    """Names of the image and the text graph of a precision."""
    if precision == EXACT:
        return IMAGE_FILE, TEXT_FILE
    return IMAGE_FILE.replace(".onnx", f".{precision}.onnx"), TEXT_FILE.replace(".onnx", f".{precision}.onnx")


def write_model_files(run: TrainedRun, folder: Path, *, half_weights: bool = False) -> CLIP:
    """Write both float32 graphs, the tokenizer, the weights under their original names, and the architecture.

    With `half_weights`, matrices and kernels are rounded to float16 first. Returns the model as it is
    published. Raises ExportError if a value is beyond float16.
    """
    model = rounded(run.model) if half_weights else run.model
    write_image_graph(model, run.image_spec, folder / IMAGE_FILE)
    write_text_graph(model, run.text_spec, folder / TEXT_FILE)
    shutil.copyfile(run.tokenizer_file, folder / TOKENIZER_FILE)
    write_weights(model, folder, torch.float16 if half_weights else torch.float32)
    return model


def rounded(model: CLIP) -> CLIP:
    """A copy whose matrices and kernels are rounded to float16 values, stored as float32."""
    copied = copy.deepcopy(model)
    for name, tensor in copied.state_dict().items():
        if _is_matrix(tensor):
            tensor.copy_(tensor.half())
            if not tensor.isfinite().all():
                raise ExportError(f"{name} has values beyond float16: export it with --no-half-weights")
    return copied


def write_weights(model: CLIP, folder: Path, matrices: torch.dtype = torch.float32) -> None:
    """Write weights under their original names, and the architecture, for fine-tuning and re-export.

    Matrices and kernels are stored as dtype `matrices`, vectors and scalars always unchanged.
    """
    (folder / MODEL_FILE).write_text(model.config.model_dump_json(indent=1), encoding="utf-8")
    weights = {
        name: (tensor.to(matrices) if _is_matrix(tensor) else tensor).detach().contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_tensors(folder / WEIGHTS_FILE, weights, {"format": "pt"})


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.ndim >= 2 and tensor.is_floating_point()


def logit_scale(model: CLIP) -> float:
    """The factor that cosines are multiplied by; the model stores its logarithm."""
    return math.exp(float(model.logit_scale.detach()))


def logit_bias(model: CLIP) -> float:
    """The bias added to scaled cosines; 0 for a model without one."""
    return 0.0 if model.logit_bias is None else float(model.logit_bias.detach())
