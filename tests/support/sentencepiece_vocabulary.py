"""A SentencePiece vocabulary as T5's tokenizer of transformers, the way open_clip saved SigLIP's."""

from pathlib import Path

from sentencepiece import sentencepiece_model_pb2
from transformers import T5Tokenizer


def t5_tokenizer(vocabulary: Path) -> T5Tokenizer:
    """Unigram that ends and pads texts with `</s>`, without sentinels of its own."""
    model = sentencepiece_model_pb2.ModelProto.FromString(vocabulary.read_bytes())
    return T5Tokenizer(
        vocab=[(piece.piece, piece.score) for piece in model.pieces],
        extra_ids=0,
        pad_token="</s>",
        _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap,
    )
