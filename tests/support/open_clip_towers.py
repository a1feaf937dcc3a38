"""Every kind of tower that open_clip's list of architectures names, made shallow; knows no bundles.

image_kinds() -> {"timm eva02 token": "EVA02-B-16", ...}    # one listed architecture for each kind
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import timm
from timm.models import _registry

from diptych_training.importing.open_clip import build
from support.open_clip_checkpoints import Config

VOCAB_SIZE = 1000
SHAPE = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "timm_model_name"}
SHAPE |= {"context_length", "vocab_size", "heads", "hf_tokenizer_name", "tokenizer_kwargs"}
SHAPE |= {"timm_model_pretrained", "timm_drop", "timm_drop_path", "hf_model_name"}
# What makes timm's models of a module shallow, where it lets anybody.
SHALLOW: dict[str, dict[str, Any]] = {
    "convnext": {"depths": (1, 1, 1, 1)},
    "eva": {"depth": 2},
    "fastvit": {"layers": (1, 1, 1, 1)},
    "swin_transformer": {"depths": (1, 1, 1, 1)},
    "vision_transformer": {"depth": 2},
    "vision_transformer_hybrid": {"depth": 2},
    "vision_transformer_relpos": {"depth": 2},
}
HF_DEPTHS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")


def image_kinds() -> dict[str, str]:
    """Kind of image tower -> the smallest architecture that has it."""
    return _kinds(_image_kind)


def text_kinds() -> dict[str, str]:
    """Kind of text tower -> the smallest architecture that has it."""
    return _kinds(_text_kind)


def shallow_config(name: str) -> Config:
    """open_clip's configuration of a listed architecture with two layers or less in each part."""
    config: Config = deepcopy(open_clip.get_model_config(name))
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" not in vision:
        vision["layers"] = [1] * 4 if isinstance(vision["layers"], list) else 2
    for part in (text, config.get("multimodal_cfg", {})):
        if "layers" in part:
            part |= {"layers": 2, "vocab_size": VOCAB_SIZE}
    return config


def write_text_config(config: Config, folder: Path) -> None:
    """Beside a checkpoint: the configuration of its text tower of transformers, with one layer."""
    name = config["text_cfg"].get("hf_model_name")
    if name is not None:
        known = _known_text(name)
        small = {key: 1 for key in HF_DEPTHS if key in known}
        (folder / "config.json").write_text(json.dumps(known | small | {"vocab_size": VOCAB_SIZE}))


@contextmanager
def shallow_timm() -> Iterator[None]:
    """Whatever open_clip asks timm for has few layers."""
    honest = timm.create_model

    def create(name: str, **settings: Any) -> Any:
        return honest(name, **settings, **SHALLOW.get(_module(name), {}))

    with mock.patch.object(timm, "create_model", create):
        yield


def _kinds(kind: Callable[[Config], str]) -> dict[str, str]:
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    smallest_first = sorted(configs, key=lambda name: (configs[name]["embed_dim"], name))
    return {kind(configs[name]): name for name in reversed(smallest_first)}


def _image_kind(config: Config) -> str:
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        model = vision["timm_model_name"]
        library = f"timm {_module(model)} {model.split('_')[0]}"
    else:
        library = "ModifiedResNet" if isinstance(vision["layers"], list) else "ViT"
    return f"{library} {_options(vision)}".strip()


def _text_kind(config: Config) -> str:
    text = config["text_cfg"]
    name = text.get("hf_model_name")
    library = f"transformers {_known_text(name)['model_type']}" if name else "transformer"
    return f"{library} {_options(text)}".strip()


def _options(part: Config) -> str:
    return " ".join(
        f"{key}={part[key]}" for key in sorted(part) if key not in SHAPE and part[key] is not None
    )


def _module(timm_name: str) -> str:
    return str(_registry._model_to_module[timm_name.split(".", maxsplit=1)[0]])


def _known_text(name: str) -> Config:
    file = files(build.__package__ or "") / build.KNOWN_FILE
    known: dict[str, Config] = json.loads(file.read_text(encoding="utf-8"))
    return known[name]
