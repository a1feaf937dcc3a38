"""Convert SigLIP's tokenizer, which is Python code over sentencepiece, to a `tokenizers` file."""

import string
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import SiglipTokenizer

from diptych_training.errors import ImportFailed

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
        steps += [
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex(f"[ {SPACE}]+$"), ""),
        ]
    steps.append(normalizers.Replace(" ", SPACE))
    sequence: normalizers.Normalizer = normalizers.Sequence(steps)
    return sequence


def _any_of(characters: str) -> str:
    return "[" + "".join(f"\\{character}" for character in characters) + "]"
