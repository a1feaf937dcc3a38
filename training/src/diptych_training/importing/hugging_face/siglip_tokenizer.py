"""SigLIP's tokenizer, Python over sentencepiece, as a `tokenizers` file; knows nothing of models."""

import string
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import SiglipTokenizer

from diptych_training.errors import ImportFailed

model_format: Any = sentencepiece_model_pb2  # made at run time from a description

SPACE = "▁"  # how sentencepiece writes a space
UNIGRAM = 1  # `TrainerSpec.ModelType` of sentencepiece's model format
# White space as Python sees it: four control characters more than the expressions of `tokenizers` know.
WHITE_SPACE = r"[\s\x1c-\x1f\x85]+"


def convert_siglip_tokenizer(tokenizer: SiglipTokenizer) -> Tokenizer:
    """Same ids as the library's class on ordinary texts; the end-of-text token is placed, nothing pads.

    Raises ImportFailed for a sentencepiece model that is no Unigram model.
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
    # The unknown token is none of these: it may come out of a text.
    converted.add_special_tokens([AddedToken(end, special=True, normalized=False)])
    converted.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, end_id)]
    )
    return converted


def _normaliser(spec: Any, *, lowercase: bool) -> normalizers.Normalizer:
    """The class's canonical form, then sentencepiece's own normalisation, in their order.

    The class puts a space mark before the text and only then strips it, so white space at the start stays.
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
    if spec.remove_extra_whitespaces:  # the character map may have made new ones
        steps += [
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex(f"[ {SPACE}]+$"), ""),
        ]
    steps.append(normalizers.Replace(" ", SPACE))
    sequence: normalizers.Normalizer = normalizers.Sequence(steps)
    return sequence


def _any_of(characters: str) -> str:
    return "[" + "".join(f"\\{character}" for character in characters) + "]"
