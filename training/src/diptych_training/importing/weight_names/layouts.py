"""Convert state dicts between layouts, and account for every tensor."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, assert_never

from torch import Tensor

from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.importing.weight_names import hugging_face, open_clip
from diptych_training.importing.weight_names.entry import Entry, StateDict
from diptych_training.models import (
    EfficientNetLiteConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    ViTConfig,
    WordPiecesConfig,
)
from diptych_training.models.count import meta_model

Layout = Literal["original", "open_clip", "hugging_face"]
TOKENS: dict[str, Layout] = {
    "token_embedding.weight": "original",
    "word_pieces.token_embedding.weight": "original",
    "text.token_embedding.weight": "open_clip",
    "text_model.embeddings.token_embedding.weight": "hugging_face",
}
# Not learned: buffers of older versions, and the three numbers in OpenAI's files.
NOT_LEARNED = re.compile(r"(^|\.)(position_ids|attn_mask)$|^(input_resolution|context_length|vocab_size)$")
N_NAMED = 6  # tensors that an error lists before it only counts


def layout_of(state: Mapping[str, Tensor]) -> Layout:
    """The layout of a state dict. Raises CheckpointError if it is unknown."""
    for name, layout in TOKENS.items():
        if name in state:
            return layout
    raise CheckpointError(
        f"these are not tensor names of a supported CLIP or SigLIP: looked for {', '.join(TOKENS)} "
        f"among {len(state)} tensors"
    )


def to_layout(state: Mapping[str, Tensor], config: ModelConfig, layout: Layout) -> StateDict:
    """Convert our weights to the names and shapes of another layout."""
    moved: StateDict = {}
    for entry in _entries(config, layout):
        moved |= entry.to_theirs(state[entry.ours])
    return moved


def from_layout(state: Mapping[str, Tensor], config: ModelConfig, layout: Layout | None = None) -> StateDict:
    """Convert weights of any layout to our names, ready for `load_state_dict(strict=True)`.

    Raises CheckpointError naming tensors that are missing, left over or of another shape than in `config`.
    """
    learned = {name: tensor for name, tensor in state.items() if not NOT_LEARNED.search(name)}
    return moved_weights(
        learned, _entries(config, layout or layout_of(learned)), meta_model(config).state_dict()
    )


def moved_weights(
    state: Mapping[str, Tensor], entries: Sequence[Entry], needed: Mapping[str, Tensor]
) -> StateDict:
    """The tensors of `state` under our names; `needed` has their shapes.

    Raises CheckpointError naming tensors that are missing, left over or of another shape.
    """
    expected = [name for entry in entries for name in entry.theirs]
    missing = [name for name in expected if name not in state]
    left_over = sorted(state.keys() - set(expected))
    _require_none({"missing": missing, "not part of the model": left_over})
    moved = {entry.ours: entry.to_ours(state) for entry in entries}
    _require_shapes(moved, needed)
    return moved


def _entries(config: ModelConfig, layout: Layout) -> list[Entry]:
    library = "open_clip" if layout == "open_clip" else "transformers"
    if layout != "original" and isinstance(config.image, ViTConfig) and config.image.stem:
        raise TrainingConfigError(f"model.image has a stem: {library} has no CLIP with such an image tower")
    if layout != "original":
        _require_known_towers(config, library)
    if layout != "original" and config.projection == "nonlinear":
        raise TrainingConfigError(
            f"model.projection is nonlinear: {library} has no CLIP with such projections"
        )
    match layout:
        case "original":
            return [Entry(name, (name,)) for name in meta_model(config).state_dict()]
        case "open_clip":
            return open_clip.entries(config)
        case "hugging_face":
            return hugging_face.entries(config)
        case _:
            assert_never(layout)


def _require_known_towers(config: ModelConfig, library: str) -> None:
    for key, tower, ours_alone in (
        ("image", config.image, EfficientNetLiteConfig | PhotographsAndDrawingsConfig),
        ("text", config.text, WordPiecesConfig),
    ):
        if isinstance(tower, ours_alone):
            raise TrainingConfigError(
                f"model.{key} is of kind {tower.kind}: {library} has no CLIP with such a tower"
            )


def _require_shapes(state: StateDict, needed: Mapping[str, Tensor]) -> None:
    wrong = [
        f"{name} (stored {tuple(tensor.shape)}, the architecture needs {tuple(needed[name].shape)})"
        for name, tensor in state.items()
        if tensor.shape != needed[name].shape
    ]
    _require_none({"of another shape": wrong})


def _require_none(faults: dict[str, list[str]]) -> None:
    lines = [f"{fault}: {_listed(names)}" for fault, names in faults.items() if names]
    if lines:
        raise CheckpointError(f"the weights do not fit the architecture; {'; '.join(lines)}")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:N_NAMED])
    return shown if len(names) <= N_NAMED else f"{shown} and {len(names) - N_NAMED} more"
