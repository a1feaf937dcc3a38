"""Build the library's model from a configuration and fill it with weights, every tensor accounted for."""

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

KNOWN_FILE = "hugging_face_text.json"  # those that open_clip's own architectures name


SHOWN = 5  # names in one message


@contextmanager
def local_config(name: str, folder: Path | None) -> Iterator[str]:
    """A folder with the `config.json` of the text tower called `name`, for as long as it is needed.

    The checkpoint's own folder goes before what is known of the name. Raises ImportFailed without either.
    """
    config = (_config_in(folder) if folder else None) or _known().get(name)
    if config is None:
        raise ImportFailed(
            f"text_cfg.hf_model_name is {name}: put its config.json (model_type one of "
            f"{', '.join(known_types)}) beside the weights; known without it: {', '.join(_known())}"
        )
    with TemporaryDirectory() as staged:
        (Path(staged) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield staged


def _config_in(folder: Path) -> dict[str, Any] | None:
    """The folder's `config.json` if it is a text tower's, not a whole model's; never code of its own."""
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
    """Take timm's and transformers' own attention in plain operations, which computes the same.

    torch's exporter fails on their fused one wherever a bias of positions is added to the scores.
    """
    for module in model.modules():
        if getattr(module, "fused_attn", False):  # timm's switch
            module.fused_attn = False  # type: ignore[assignment]
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("eager")


def build_model(architecture: Architecture) -> nn.Module:
    """open_clip's own class for this configuration, with random weights; nothing is fetched.

    Raises ImportFailed when the library does not take the configuration.
    """
    config = deepcopy(architecture.model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    is_custom = bool(config.pop("custom_text", False)) or "hf_model_name" in text
    kind = _kind(config, is_custom)
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
        except Exception as error:  # the library, timm and transformers raise whatever comes
            raise ImportFailed(
                f"open_clip {open_clip.__version__} cannot build the architecture ({architecture.name}): "
                f"{type(error).__name__}: {error}"
            ) from error
    use_plain_attention(model)
    return model.eval()


def load_weights(model: nn.Module, state: dict[str, Tensor], file: Path) -> None:
    """Fill the model.

    Raises ImportFailed naming tensors that are missing, unexpected, of another shape, or not finite.
    """
    state = _as_this_version_names_them(model, state)
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
    told = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    if told:
        raise ImportFailed(f"{file}: the weights do not fit the architecture: {told}")
    require_finite(state, str(file))
    model.load_state_dict(state)


def _kind(config: dict[str, Any], is_custom: bool) -> type[nn.Module]:
    """The class that open_clip's own factory takes for this configuration."""
    if not is_custom:
        return open_clip.CLIP  # type: ignore[no-any-return]
    return open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP  # type: ignore[no-any-return]


def _check_timm_name(name: str) -> None:
    if ":" in name:
        raise ImportFailed(
            f"vision_cfg.timm_model_name is {name}: only models that timm itself defines are built"
        )


def _as_this_version_names_them(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What open_clip does to older checkpoints before it loads them; it also resizes, which we do not."""
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    state = {name: tensor for name, tensor in state.items() if not _is_dropped(name, model)}
    counters = {name: t for name, t in model.state_dict().items() if name.endswith("num_batches_tracked")}
    state = {**counters, **state}  # of batch norms: only training reads them, and not every file has them
    for name in ("logit_scale", "logit_bias"):  # scalars once had one dimension, and again at times
        own = getattr(model, name, None)
        if own is not None and name in state and state[name].numel() == own.numel():
            state[name] = state[name].reshape(own.shape)
    return state


def _is_dropped(name: str, model: nn.Module) -> bool:
    """transformers once stored the positions 0, 1, 2, ... as a tensor."""
    return name.endswith("embeddings.position_ids") and name not in model.state_dict()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
