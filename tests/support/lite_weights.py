"""A file of EfficientNet-Lite weights as another library writes it: timm's names, with a classifier."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from diptych_training.models import EfficientNetLiteConfig
from diptych_training.models.efficientnet_lite import EfficientNetLite


def write_lite_weights(file: Path, image: EfficientNetLiteConfig, n_classes: int = 5) -> Path:
    """Write random weights from 0 to 1, unlike fresh ones; return the file."""
    torch.manual_seed(7)
    tower = EfficientNetLite(image.model_copy(update={"classes": None, "norm": True}), 1)
    state = {
        timms_name(name): torch.rand_like(tensor)
        for name, tensor in tower.state_dict().items()
        if tensor.is_floating_point() and name != "proj.weight"
    }
    classifier = {"classifier.weight": torch.rand(n_classes, 1280), "classifier.bias": torch.rand(n_classes)}
    save_file({**state, **classifier}, file)
    return file


def timms_name(name: str) -> str:
    """timm's name of one of our weights."""
    *at, layer, part, kind = name.split(".")
    if layer in ("stem", "7"):
        conv, norm = ("conv_stem", "bn1") if layer == "stem" else ("conv_head", "bn2")
        return f"{conv if part == 'conv' else norm}.{kind}"
    first = at[1] == "0"  # whose blocks do not expand
    order = ["depthwise", "project"] if first else ["expand", "depthwise", "project"]
    convs = ["conv_dw", "conv_pw"] if first else ["conv_pw", "conv_dw", "conv_pwl"]
    number = order.index(layer)
    return ".".join([*at, convs[number] if part == "conv" else f"bn{number + 1}", kind])
