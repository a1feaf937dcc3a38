"""Convert open_clip's `HFTokenizer`, a wrapper around transformers, to a `tokenizers` file."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from open_clip.tokenizer import HFTokenizer
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, processors

from diptych.bundle.text.tokenizer import Clean
from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.tokenizer import to_tokenizer_file
from diptych_training.importing.open_clip.bpe import CLEANS, TextProcessing

model_format: Any = sentencepiece_model_pb2  # made at run time from a description

SUFFIX = ".model"
UNIGRAM = 1  # `TrainerSpec.ModelType` of sentencepiece's model format
# open_clip's settings for SigLIP's English and multilingual vocabularies, which are T5's: the end-of-text
# token also pads, and there are no sentinels besides those in the vocabulary.
T5_CONFIG = {
    "tokenizer_class": "T5Tokenizer",
    "extra_ids": 0,
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "</s>",
}


OPTIONS = {"clean": "whitespace", "strip_sep_token": False, "language": None}


@contextmanager
def staged_vocabulary(source: Path) -> Iterator[str]:
    """Context manager: `source` itself, or a folder of transformers made around a vocabulary file.

    Raises ImportFailed for a vocabulary that is not of T5's kind, such as Gemma's.
    """
    if source.suffix != SUFFIX or not source.is_file():
        yield str(source)
        return
    _require_unigram(source)
    with TemporaryDirectory() as folder:
        shutil.copyfile(source, Path(folder) / "spiece.model")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(T5_CONFIG), encoding="utf-8")
        yield folder


def _require_unigram(file: Path) -> None:
    try:
        kind = model_format.ModelProto.FromString(file.read_bytes()).trainer_spec.model_type
    except Exception as error:  # protobuf's error class has no types
        raise ImportFailed(f"{file}: not a SentencePiece vocabulary: {error}") from error
    if kind != UNIGRAM:
        raise ImportFailed(
            f"{file}: SentencePiece model type {kind}, only Unigram can be read from its file alone: pass "
            "a folder that transformers saved with --tokenizer"
        )


def set_template(tokenizer: Tokenizer, before: Sequence[int], after: Sequence[int]) -> None:
    """Make the tokenizer add these tokens around every text. Raises ImportFailed for an unknown id."""
    names = {id: tokenizer.id_to_token(id) for id in (*before, *after)}
    if None in names.values():
        raise ImportFailed(f"the tokenizer has no tokens for the ids {sorted(names)}, which open_clip adds")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*(names[id] for id in before), "$A", *(names[id] for id in after)],
        special_tokens=[(token, id) for id, token in names.items()],
    )


def replace_separator(tokenizer: Tokenizer, separator_id: int) -> None:
    """Replace every separator that the template adds by id 0, as open_clip's `strip_sep_token` does."""
    mask = tokenizer.encode("a").special_tokens_mask  # 1 for tokens that the template adds
    placed = tokenizer.encode("").ids
    kept = [0 if id == separator_id else id for id in placed]
    n_before = mask.index(0)
    set_template(tokenizer, kept[:n_before], kept[n_before:])


def hugging_face_text_processing(source: Path, text: dict[str, Any], context_length: int) -> TextProcessing:
    """Load a folder that transformers saved, or a SentencePiece vocabulary of T5's kind.

    Raises ImportFailed if it does not load, or has options that a bundle cannot express.
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
    return TextProcessing(tokenizer, clean, context_length, _pad_id(library), library, ids)


def _load(source: Path, **options: Any) -> HFTokenizer:
    with staged_vocabulary(source) as folder:
        try:
            return HFTokenizer(folder, local_files_only=True, trust_remote_code=False, **options)
        except Exception as error:  # transformers raises many kinds
            raise ImportFailed(
                f"{source}: transformers cannot load the tokenizer: {type(error).__name__}: {error}"
            ) from error


def _backend(library: HFTokenizer) -> Tokenizer:
    """The `tokenizers` object, without padding and truncation, which the server does."""
    fast = library.tokenizer
    if (fast.padding_side, fast.truncation_side) != ("right", "right"):
        raise ImportFailed(
            f"{type(fast).__name__} pads on the {fast.padding_side} and truncates on the "
            f"{fast.truncation_side}: a bundle pads and truncates on the right"
        )
    return to_tokenizer_file(fast)


def _clean(asked: str, tokenizer: Tokenizer) -> Clean:
    """The cleaning that open_clip does before tokenising.

    For a tokenizer that lower-cases, `clip` equals `clip_cased`, and older servers refuse `clip_cased`.
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
            [library.clean_fn(text)],
            max_length=context_length,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,  # tokenizers of SigLIP 2 leave it out
        )
        return row[: sum(padded.attention_mask[0])]

    return library_ids


def _clips(library: HFTokenizer, tokenizer: Tokenizer, clean: Clean, context_length: int) -> TextProcessing:
    """CLIPS models: start, text, end, padding, then the class token, which the exported tower appends."""
    fast = library.tokenizer
    if None in (fast.bos_token_id, fast.eos_token_id, fast.cls_token_id):
        raise ImportFailed("tokenizer_mode is clips, but the tokenizer lacks a start, end or class token")
    set_template(tokenizer, [fast.bos_token_id], [fast.eos_token_id])

    def library_ids(text: str) -> list[int]:
        row: list[int] = library([text])[0].tolist()
        n_text = len(fast([library.clean_fn(text)], add_special_tokens=False)["input_ids"][0])
        return row[: min(n_text, context_length - 3) + 2]

    return TextProcessing(
        tokenizer,
        clean,
        context_length - 1,
        _pad_id(library),
        library,
        library_ids,
        appended_id=int(fast.cls_token_id),
    )
