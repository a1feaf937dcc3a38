"""Load a checkpoint's tokenizer with the library, and convert it to a `tokenizer.json`.

SigLIP's is Python code over sentencepiece, and is converted from that.
"""

import json
import string
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import AutoTokenizer, SiglipTokenizer
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from diptych_training.errors import ImportFailed
from diptych_training.importing.hugging_face.library import LibraryTokenizer, ModelConfig

model_format: Any = sentencepiece_model_pb2  # its classes are created at run time

SPACE = "▁"  # how sentencepiece writes a space
UNIGRAM = 1  # `TrainerSpec.ModelType` of sentencepiece's model format
# White space as Python defines it: four control characters more than \s of `tokenizers`.
WHITE_SPACE = r"[\s\x1c-\x1f\x85]+"


def convert_siglip_tokenizer(tokenizer: SiglipTokenizer) -> Tokenizer:
    """A tokenizer with the library's ids on ordinary texts; adds the end-of-text token, does not pad.

    Raises ImportFailed for a sentencepiece model that is not Unigram.
    """
    model = model_format.ModelProto.FromString(tokenizer.sp_model.serialized_model_proto())
    if model.trainer_spec.model_type != UNIGRAM:
        raise ImportFailed(
            f"sentencepiece model type {model.trainer_spec.model_type}: only Unigram can be converted"
        )
    unigram = models.Unigram(
        [(piece.piece, piece.score) for piece in model.pieces],
        unk_id=model.trainer_spec.unk_id,
        byte_fallback=model.trainer_spec.byte_fallback,
    )
    converted = Tokenizer(unigram)
    converted.normalizer = _normaliser(model.normalizer_spec, lowercase=tokenizer.do_lower_case)
    converted.decoder = decoders.Replace(SPACE, " ")
    end, end_id = str(tokenizer.eos_token), tokenizer.eos_token_id
    # The unknown token is not special: it may result from ordinary text.
    converted.add_special_tokens([AddedToken(end, special=True, normalized=False)])
    converted.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, end_id)]
    )
    return converted


def _normaliser(spec: Any, *, lowercase: bool) -> normalizers.Normalizer:
    """The library class's canonical form, then sentencepiece's normalisation.

    The class prepends a space mark before it strips, so white space at the start of a text is kept.
    """
    steps: list[normalizers.Normalizer] = [normalizers.Replace(SPACE, " ")]
    if lowercase:
        steps.append(normalizers.Lowercase())
    steps += [
        normalizers.Replace(Regex(_any_of(string.punctuation)), ""),
        normalizers.Replace(Regex(WHITE_SPACE), " "),
        normalizers.Strip(left=False, right=True),
        normalizers.Prepend(SPACE),
    ]
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:  # the character map may have created new ones
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(f"[ {SPACE}]+$"), "")]
    steps.append(normalizers.Replace(" ", SPACE))
    sequence: normalizers.Normalizer = normalizers.Sequence(steps)
    return sequence


def _any_of(characters: str) -> str:
    return "[" + "".join(f"\\{character}" for character in characters) + "]"


def load_tokenizer(folder: Path, config: ModelConfig) -> LibraryTokenizer:
    """The library's tokenizer for a folder.

    Raises ImportFailed if there is none, or if it pads or truncates at the start of a text.
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
        # Without files, the library returns a vocabulary of only its few special tokens.
        raise ImportFailed(f"{folder.name} has no tokenizer files; pass --tokenizer FOLDER")
    for name in ("padding_side", "truncation_side"):
        side = getattr(tokenizer, name)
        if side != "right":
            raise ImportFailed(
                f"the tokenizer's {name} is {side!r}: a bundle pads and truncates texts on the right"
            )
    return tokenizer


def to_tokenizer_file(tokenizer: LibraryTokenizer) -> Tokenizer:
    """Convert to a `tokenizers.Tokenizer` without padding and truncation.

    Raises ImportFailed for a tokenizer that is written in Python, except SigLIP's.
    """
    if isinstance(tokenizer, SiglipTokenizer):
        return convert_siglip_tokenizer(tokenizer)
    if not isinstance(tokenizer, TokenizersBackend):
        raise ImportFailed(
            f"tokenizer {type(tokenizer).__name__} is written in Python and has no tokenizer.json; "
            "pass --tokenizer FOLDER with a tokenizer that has one"
        )
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    _unmark_unknown_token(description)
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
            "the tokenizer belongs to another model; pass --tokenizer FOLDER"
        )


def _is_empty(tokenizer: LibraryTokenizer) -> bool:
    return set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens)


def _unmark_unknown_token(description: dict[str, Any]) -> None:
    """Make a Unigram model's unknown token an ordinary one.

    A bundle's tokenizer drops special ids that result from a text, but the unknown token must stay. Other
    models name their unknown token where the bundle's tokenizer sees it; Unigram does not.
    """
    model = description["model"]
    if model["type"] != "Unigram" or model.get("unk_id") is None:
        return
    for token in description["added_tokens"]:
        if token["id"] == model["unk_id"]:
            token["special"] = False
