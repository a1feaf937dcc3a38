"""Read a checkpoint's text settings: context length, padding, and the attention mask."""

from collections.abc import Mapping
from typing import Any, Literal

from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.hugging_face.families import Family
from diptych_training.importing.hugging_face.library import LibraryTokenizer, ModelConfig
from diptych_training.importing.hugging_face.towers import Padding

# In configurations older than the correct id, this value means that the feature is at the largest id.
LEGACY_END_ID = 2

PROMPTS: Mapping[str, list[str]] = {"default": ["{}"]}


def read_context_length(
    text_config: ModelConfig, family: Family, tokenizer: LibraryTokenizer, choices: Choices
) -> int:
    """Maximum ids of a text: the tower's positions, or fewer if the tokenizer or --context-length say so.

    Raises ImportFailed if --context-length exceeds the tower's positions.
    """
    n_positions = text_config.max_position_embeddings
    if family.positions_after_padding:
        n_positions -= text_config.pad_token_id + 1
    if choices.context_length is None:
        return int(min(n_positions, tokenizer.model_max_length))  # a huge number if it is not set
    if not 0 < choices.context_length <= n_positions:
        raise ImportFailed(
            f"--context-length {choices.context_length}: the text tower has {n_positions} positions"
        )
    return choices.context_length


def read_padding(
    text_config: ModelConfig, family: Family, tokenizer: LibraryTokenizer, tokenizer_file: Tokenizer
) -> Padding:
    """The padding id, and the mask that the library's tokenizer would make for it.

    Behind a causal mask the end-of-text token pads: the tower takes its feature at the first one, found by
    equality or as the largest id, and sees nothing after it. Raises ImportFailed if the tokenizer does not
    end texts as the tower expects.
    """
    placed = tokenizer_file.encode("").ids
    if family.pooling == "end_of_text":
        return Padding(_end_id(text_config, family, placed), "everything")
    pad_id = tokenizer.pad_token_id
    if pad_id is None:
        raise ImportFailed("the tokenizer has no padding token, which the text tower needs")
    if "attention_mask" not in tokenizer.model_input_names:
        return Padding(pad_id, "everything")
    return Padding(pad_id, "up_to_padding" if pad_id in placed else "all_but_padding")


def _end_id(text_config: ModelConfig, family: Family, placed: list[int]) -> int:
    """The token id at which the tower takes a text's feature."""
    end_id: Any = text_config.eos_token_id
    if not placed:
        raise ImportFailed("the tokenizer adds no end token, at which the tower takes its feature")
    if family.old_end_id and end_id == LEGACY_END_ID:
        return placed[-1]
    if not isinstance(end_id, int) or end_id not in placed:
        raise ImportFailed(
            f"text_config.eos_token_id is {end_id!r}, the tokenizer adds {placed}: the tower would not find "
            "the end of a text; pass --tokenizer FOLDER"
        )
    return end_id


def text_spec(
    context_length: int, padding: Padding, pad_to: Literal["longest", "context_length"]
) -> TextSpec:
    """A bundle's text spec; the tokenizer file does all cleaning."""
    return TextSpec(
        context_length=context_length,
        clean="none",
        pad_to=pad_to,
        pad_id=padding.pad_id,
        prompts={name: list(templates) for name, templates in PROMPTS.items()},
    )
