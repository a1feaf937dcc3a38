"""Find and load the tokenizer that a checkpoint's configuration asks for."""

from pathlib import Path
from typing import Any

from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from tokenizers import Tokenizer

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.folder_files import has_tokenizer
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.open_clip.architecture import Architecture
from diptych_training.importing.open_clip.bpe import TextProcessing, simple_text_processing
from diptych_training.importing.open_clip.hugging_face_tokenizer import hugging_face_text_processing


def choose_text_processing(architecture: Architecture, vocab_size: int, choices: Choices) -> TextProcessing:
    """Load the tokenizer from the library, the checkpoint's folder or `choices.tokenizer`.

    Raises ImportFailed if it is not there, or has ids beyond the text tower's vocabulary.
    """
    text = architecture.model["text_cfg"]
    context_length = _context_length(text, choices)
    name = text.get("hf_tokenizer_name")
    if not name and choices.tokenizer is None:
        return simple_text_processing(text, vocab_size, context_length)
    source = _source(name, architecture.folder, choices)
    text_processing = hugging_face_text_processing(source, text, context_length)
    _check_vocabulary(text_processing.tokenizer, vocab_size)
    return text_processing


def _context_length(text: dict[str, Any], choices: Choices) -> int:
    stated = text.get("context_length")
    if stated is None and text.get("hf_model_name"):
        return choices.context_length or DEFAULT_CONTEXT_LENGTH  # towers of transformers accept any length
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
    """Raise ImportFailed if ordinary text can produce ids of `vocab_size` or more.

    Special tokens and T5's numbered sentinels may have such ids: only the template can add them.
    """
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    free = special - set(tokenizer.encode("").ids)
    beyond = [
        token
        for token, id in tokenizer.get_vocab(with_added_tokens=True).items()
        if id >= vocab_size and id not in free and "extra_id_" not in token
    ]
    if beyond:
        raise ImportFailed(
            f"the tokenizer has {len(beyond)} tokens beyond the text tower's {vocab_size}, such as "
            f"{beyond[0]!r}: it may belong to another model; pass the right one with --tokenizer"
        )
