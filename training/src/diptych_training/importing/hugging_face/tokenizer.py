"""A checkpoint's tokenizer, as the library loads it and as a `tokenizer.json`; knows nothing of models."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, SiglipTokenizer
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.library import LibraryTokenizer, ModelConfig
from diptych_training.importing.hugging_face.siglip_tokenizer import convert_siglip_tokenizer


def load_tokenizer(folder: Path, config: ModelConfig) -> LibraryTokenizer:
    """The library's tokenizer for a folder.

    Raises ImportFailed naming --tokenizer if there is none, or one that fills or cuts texts at their start.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), config=config, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises many kinds
        raise ImportFailed(
            f"{folder.name}: transformers cannot read the tokenizer ({error}); pass --tokenizer FOLDER"
        ) from error
    if _is_empty(tokenizer):
        # Without files the library goes on with a vocabulary of its few special tokens.
        raise ImportFailed(f"{folder.name} has no tokenizer files; pass --tokenizer FOLDER")
    for name in ("padding_side", "truncation_side"):
        side = getattr(tokenizer, name)
        if side != "right":
            raise ImportFailed(
                f"the tokenizer's {name} is {side!r}: a bundle fills and cuts texts at the end"
            )
    return tokenizer


def to_tokenizer_file(tokenizer: LibraryTokenizer) -> Tokenizer:
    """The same as a `tokenizers.Tokenizer`, without padding and truncation.

    Raises ImportFailed for a tokenizer that is written in Python, other than SigLIP's.
    """
    if isinstance(tokenizer, SiglipTokenizer):
        return convert_siglip_tokenizer(tokenizer)
    if not isinstance(tokenizer, TokenizersBackend):
        raise ImportFailed(
            f"tokenizer {type(tokenizer).__name__} is written in Python and has no tokenizer.json; "
            "pass --tokenizer FOLDER with one that has"
        )
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    _free_unknown_token(description)
    converted = Tokenizer.from_str(json.dumps(description))
    converted.no_padding()
    converted.no_truncation()
    return converted


def require_vocabulary(tokenizer: Tokenizer, n_rows: int) -> None:
    """Raise ImportFailed if an id of the tokenizer has no row in the text tower's embedding table."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= n_rows:
        raise ImportFailed(
            f"the tokenizer has ids up to {largest}, the text tower has {n_rows} rows: "
            "it is another model's tokenizer; pass --tokenizer FOLDER"
        )


def _is_empty(tokenizer: LibraryTokenizer) -> bool:
    return set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens)


def _free_unknown_token(description: dict[str, Any]) -> None:
    """Take the mark `special` from a Unigram model's unknown token.

    A bundle's tokenizer drops special ids that come out of a text. The unknown token is one that must stay,
    and a Unigram model, unlike the others, does not name it where that can be seen.
    """
    model = description["model"]
    if model["type"] != "Unigram" or model.get("unk_id") is None:
        return
    for token in description["added_tokens"]:
        if token["id"] == model["unk_id"]:
            token["special"] = False
