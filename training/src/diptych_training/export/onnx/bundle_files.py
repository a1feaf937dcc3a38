"""Write a bundle's model files: graphs, tokenizer, weights and architecture."""

import copy
import math
import shutil
from pathlib import Path

import torch
from torch import Tensor

from diptych.bundle.manifest import TOKENIZER_FILE
from diptych_training.checkpoint import TrainedRun, write_tensors
from diptych_training.errors import ExportError
from diptych_training.export.onnx.towers import write_image_graph, write_text_graph
from diptych_training.models import CLIP

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
