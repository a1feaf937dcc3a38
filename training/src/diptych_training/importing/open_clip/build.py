"""Build the library's model from a configuration and load its weights, every tensor accounted for."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
from open_clip.convert import convert_state_dict
from open_clip.hf_configs import arch_dict as known_types
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.weight_files import require_finite
from diptych_training.importing.open_clip.architecture import Architecture

KNOWN_FILE = "hugging_face_text.json"  # configurations of the text towers in open_clip's architectures


MAX_NAMED = 5  # names in one message


@contextmanager
def local_config(name: str, folder: Path | None) -> Iterator[str]:
    """Context manager: a temporary folder with the `config.json` of transformers' text tower `name`.

    The checkpoint's own folder has precedence over KNOWN_FILE. Raises ImportFailed if neither has it.
    """
    config = (_config_in(folder) if folder else None) or _known().get(name)
    if config is None:
        raise ImportFailed(
            f"text_cfg.hf_model_name is {name}: put its config.json (model_type one of "
            f"{', '.join(known_types)}) next to the weights; not needed for {', '.join(_known())}"
        )
    with TemporaryDirectory() as staged:
        (Path(staged) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield staged


def _config_in(folder: Path) -> dict[str, Any] | None:
    """The folder's `config.json` if it describes a text tower, not a whole model; without custom code."""
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ImportFailed(f"{file}: not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") not in known_types:
        return None
    return {key: value for key, value in config.items() if key != "auto_map"}


def _known() -> dict[str, dict[str, Any]]:
    text = files(__package__).joinpath(KNOWN_FILE).read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = json.loads(text)
    return known


def use_plain_attention(model: nn.Module) -> None:
    """Switch timm and transformers to unfused attention, which computes the same.

    torch's exporter fails on fused attention with a position bias.
    """
    for module in model.modules():
        if getattr(module, "fused_attn", False):  # timm's switch
            module.fused_attn = False  # type: ignore[assignment]
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("eager")


def build_model(architecture: Architecture) -> nn.Module:
    """An instance of open_clip's class for this configuration, with random weights; nothing is downloaded.

    Raises ImportFailed if the library rejects the configuration.
    """
    config = deepcopy(architecture.model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    is_custom = bool(config.pop("custom_text", False)) or "hf_model_name" in text
    kind = _model_class(config, is_custom)
    with ExitStack() as staged:
        if vision.get("timm_model_name"):
            _check_timm_name(vision["timm_model_name"])
            vision["timm_model_pretrained"] = False
        if text.get("hf_model_name"):
            text["hf_model_pretrained"] = False
            text["hf_model_name"] = staged.enter_context(
                local_config(text["hf_model_name"], architecture.folder)
            )
        try:
            model: nn.Module = kind(**config)
        except ImportFailed:
            raise
        except Exception as error:  # the library, timm and transformers raise many kinds
            raise ImportFailed(
                f"open_clip {open_clip.__version__} cannot build the architecture ({architecture.name}): "
                f"{type(error).__name__}: {error}"
            ) from error
    use_plain_attention(model)
    return model.eval()


def load_weights(model: nn.Module, state: dict[str, Tensor], file: Path) -> None:
    """Load a state dict into the model.

    Raises ImportFailed naming tensors that are missing, unexpected, of another shape, or not finite.
    """
    state = _convert_names(model, state)
    expected = model.state_dict()
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    faults = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": shapes,
    }
    message = "; ".join(f"{kind}: {_abbreviate(names)}" for kind, names in faults.items() if names)
    if message:
        raise ImportFailed(f"{file}: the weights do not fit the architecture: {message}")
    require_finite(state, str(file))
    model.load_state_dict(state)


def _model_class(config: dict[str, Any], is_custom: bool) -> type[nn.Module]:
    """The class that open_clip's factory uses for this configuration."""
    if not is_custom:
        return open_clip.CLIP  # type: ignore[no-any-return]
    return open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP  # type: ignore[no-any-return]


def _check_timm_name(name: str) -> None:
    if ":" in name:
        raise ImportFailed(
            f"vision_cfg.timm_model_name is {name}: only models that timm itself defines are supported"
        )


def _convert_names(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert older checkpoints as open_clip does before loading, but without resizing tensors."""
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    state = {name: tensor for name, tensor in state.items() if not _is_dropped(name, model)}
    counters = {name: t for name, t in model.state_dict().items() if name.endswith("num_batches_tracked")}
    state = {**counters, **state}  # batch norm counters: used only in training, and missing in some files
    for name in ("logit_scale", "logit_bias"):  # some releases store scalars with one dimension
        own = getattr(model, name, None)
        if own is not None and name in state and state[name].numel() == own.numel():
            state[name] = state[name].reshape(own.shape)
    return state


def _is_dropped(name: str, model: nn.Module) -> bool:
    """True for the positions 0, 1, 2, ..., which transformers once stored as a tensor."""
    return name.endswith("embeddings.position_ids") and name not in model.state_dict()


def _abbreviate(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
