"""open_clip's wrapper around a tokenizer of transformers, as a `tokenizers` file; knows no model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer

from diptych.bundle.text.tokenizer import Clean
from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.tokenizer import to_tokenizer_file
from diptych_training.importing.open_clip.sentencepiece import staged_vocabulary
from diptych_training.importing.open_clip.templates import replace_separator, set_template
from diptych_training.importing.open_clip.tokenizing import CLEANS, Tokenizing

OPTIONS = {"clean": "whitespace", "strip_sep_token": False, "language": None}


def hugging_face_tokenizing(source: Path, text: dict[str, Any], context_length: int) -> Tokenizing:
    """Load a folder as transformers saves it, or a SentencePiece vocabulary of T5's kind.

    Raises ImportFailed when it does not load, or does what a bundle cannot express.
    """
    options = {**OPTIONS, **(text.get("tokenizer_kwargs") or {})}
    if set(options) != set(OPTIONS):
        raise ImportFailed(f"text_cfg.tokenizer_kwargs is {options}: only {', '.join(OPTIONS)} are supported")
    mode = text.get("tokenizer_mode")
    library = _load(source, context_length=context_length, tokenizer_mode=mode, **options)
    tokenizer = _backend(library)
    clean = _clean(options["clean"], tokenizer)
    if mode == "clips":
        return _clips(library, tokenizer, clean, context_length)
    if options["strip_sep_token"]:
        replace_separator(tokenizer, library.tokenizer.sep_token_id)
    ids = _ids_of(library, context_length)
    return Tokenizing(tokenizer, clean, context_length, _pad_id(library), library, ids)


def _load(source: Path, **options: Any) -> HFTokenizer:
    with staged_vocabulary(source) as folder:
        try:
            return HFTokenizer(folder, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # transformers raises whatever its files make it raise
            raise ImportFailed(
                f"{source}: no tokenizer that transformers can load: {type(error).__name__}: {error}"
            ) from error


def _backend(library: HFTokenizer) -> Tokenizer:
    """The tokenizer itself, free of padding and truncation, which are the server's."""
    fast = library.tokenizer
    if (fast.padding_side, fast.truncation_side) != ("right", "right"):
        raise ImportFailed(
            f"{type(fast).__name__} pads on the {fast.padding_side} and truncates on the "
            f"{fast.truncation_side}: only the right can be served"
        )
    return to_tokenizer_file(fast)


def _clean(asked: str, tokenizer: Tokenizer) -> Clean:
    """What open_clip does before this tokenizer; one that lower-cases by itself loses nothing by `clip`.

    Older servers know `clip`, and refuse `clip_cased`.
    """
    normalizer = tokenizer.normalizer
    lowers = normalizer is not None and normalizer.normalize_str("ABC").endswith("abc")
    return "clip" if asked == "whitespace" and lowers else CLEANS[asked]


def _pad_id(library: HFTokenizer) -> int:
    pad_id = library.tokenizer.pad_token_id
    if pad_id is None:
        raise ImportFailed("the tokenizer has no padding token, which open_clip needs")
    return int(pad_id)


def _ids_of(library: HFTokenizer, context_length: int) -> Callable[[str], list[int]]:
    def library_ids(text: str) -> list[int]:
        row: list[int] = library([text])[0].tolist()
        padded = library.tokenizer(
            [library.clean_fn(text)], max_length=context_length, padding="max_length", truncation=True
        )
        return row[: sum(padded.attention_mask[0])]

    return library_ids


def _clips(library: HFTokenizer, tokenizer: Tokenizer, clean: Clean, context_length: int) -> Tokenizing:
    """Start, text, end, padding, and the class token behind the padding, which the text tower adds itself."""
    fast = library.tokenizer
    if None in (fast.bos_token_id, fast.eos_token_id, fast.cls_token_id):
        raise ImportFailed("tokenizer_mode is clips, and the tokenizer lacks a start, end or class token")
    set_template(tokenizer, [fast.bos_token_id], [fast.eos_token_id])

    def library_ids(text: str) -> list[int]:
        row: list[int] = library([text])[0].tolist()
        n_text = len(fast([library.clean_fn(text)], add_special_tokens=False)["input_ids"][0])
        return row[: min(n_text, context_length - 3) + 2]

    return Tokenizing(
        tokenizer,
        clean,
        context_length - 1,
        _pad_id(library),
        library,
        library_ids,
        appended_id=int(fast.cls_token_id),
    )
