"""Which tokenizer a checkpoint's configuration asks for, and where it lies; knows no tokenizer's insides."""

from pathlib import Path
from typing import Any

from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from tokenizers import Tokenizer

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.open_clip.architecture import Architecture
from diptych_training.importing.open_clip.bpe import simple_tokenizing
from diptych_training.importing.open_clip.files import has_tokenizer
from diptych_training.importing.open_clip.hugging_face_tokenizer import hugging_face_tokenizing
from diptych_training.importing.open_clip.tokenizing import Tokenizing


def tokenizing_of(architecture: Architecture, vocab_size: int, choices: Choices) -> Tokenizing:
    """The tokenizer that the configuration asks for, in the checkpoint's folder or in `choices.tokenizer`.

    Raises ImportFailed when it is not there, or has ids that the text tower does not know.
    """
    text = architecture.model["text_cfg"]
    context_length = _context_length(text, choices)
    name = text.get("hf_tokenizer_name")
    if not name and choices.tokenizer is None:
        return simple_tokenizing(text, vocab_size, context_length)
    source = _source(name, architecture.folder, choices)
    tokenizing = hugging_face_tokenizing(source, text, context_length)
    _check_vocabulary(tokenizing.tokenizer, vocab_size)
    return tokenizing


def _context_length(text: dict[str, Any], choices: Choices) -> int:
    stated = text.get("context_length")
    if stated is None and text.get("hf_model_name"):
        return choices.context_length or DEFAULT_CONTEXT_LENGTH  # transformers' towers take any length
    length = int(stated or DEFAULT_CONTEXT_LENGTH)
    if choices.context_length not in (None, length):
        raise ImportFailed(
            f"the checkpoint's context_length is {length}, --context-length is {choices.context_length}"
        )
    return length


def _source(name: str | None, folder: Path | None, choices: Choices) -> Path:
    if choices.tokenizer is not None:
        chosen = Path(choices.tokenizer)
        if not chosen.exists():
            raise ImportFailed(f"--tokenizer {chosen}: no such folder or file")
        return chosen
    if folder is not None and has_tokenizer(folder):
        return folder
    raise ImportFailed(
        f"text_cfg.hf_tokenizer_name is {name}, and the checkpoint holds no tokenizer: pass --tokenizer"
    )


def _check_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Special tokens may lie beyond: only the template can place them. So may T5's numbered sentinels."""
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    free = special - set(tokenizer.encode("").ids)
    beyond = [
        token
        for token, id in tokenizer.get_vocab(with_added_tokens=True).items()
        if id >= vocab_size and id not in free and "extra_id_" not in token
    ]
    if beyond:
        raise ImportFailed(
            f"the tokenizer has {len(beyond)} tokens beyond the {vocab_size} that the text tower knows, such "
            f"as {beyond[0]!r}: is it another model's? --tokenizer names the right one"
        )
