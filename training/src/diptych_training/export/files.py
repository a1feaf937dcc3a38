"""Write what a bundle holds of a trained model, but for its proofs; knows nothing of manifests."""

import math
import shutil
from pathlib import Path

from safetensors.torch import save

from diptych.bundle.manifest import TOKENIZER_FILE
from diptych_training.checkpoint import TrainedRun
from diptych_training.export.graphs import write_image_graph, write_text_graph
from diptych_training.models import CLIP

IMAGE_FILE, TEXT_FILE = "image_encoder.onnx", "text_encoder.onnx"
WEIGHTS_FILE, MODEL_FILE = "weights.safetensors", "model.json"
EXACT = "fp32"  # the precision that all others are made from


def graph_files(precision: str) -> tuple[str, str]:
    """Names of the image and the text graph of a precision."""
    if precision == EXACT:
        return IMAGE_FILE, TEXT_FILE
    return IMAGE_FILE.replace(".onnx", f".{precision}.onnx"), TEXT_FILE.replace(".onnx", f".{precision}.onnx")


def write_model_files(run: TrainedRun, folder: Path) -> None:
    """Both graphs in float32, the tokenizer, the weights under their original names, and the architecture."""
    write_image_graph(run.model, run.image_spec, folder / IMAGE_FILE)
    write_text_graph(run.model, run.text_spec, folder / TEXT_FILE)
    shutil.copyfile(run.tokenizer_file, folder / TOKENIZER_FILE)
    write_weights(run.model, folder)


def write_weights(model: CLIP, folder: Path) -> None:
    """What fine-tuning and re-export start from: the weights under their original names, the architecture."""
    (folder / MODEL_FILE).write_text(model.config.model_dump_json(indent=1), encoding="utf-8")
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    # Not `save_file`: it makes a file that only its maker may read.
    (folder / WEIGHTS_FILE).write_bytes(save(weights, metadata={"format": "pt"}))


def logit_scale(model: CLIP) -> float:
    """The multiplier of cosines; the model stores its logarithm."""
    return math.exp(float(model.logit_scale.detach()))


def logit_bias(model: CLIP) -> float:
    """What is added to scaled cosines; 0 for a model without one."""
    return 0.0 if model.logit_bias is None else float(model.logit_bias.detach())
