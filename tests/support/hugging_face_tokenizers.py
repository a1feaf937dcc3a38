"""Small real tokenizers of each kind that dual encoders of transformers use, trained on the spot."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    Siglip2Tokenizer,
    SiglipTokenizer,
    XLMRobertaTokenizer,
)

from diptych_training.train.tokenizer import train_tokenizer

CORPUS = """
a photo of a cat sleeping on a red chair
a black and white dog runs over the green field
two birds sit on a branch, looking at the sea
the old man's bicycle leans against a brick wall
a plate of rice, beans and grilled fish on a wooden table
people are walking in the rain with yellow umbrellas
a drawing of a house with three windows and a door
mountains and a lake under a cloudy sky at dawn
an astronaut waves; behind her is the blue planet
close-up of a coffee cup: steam rises in the morning light
children play football in the street after school
the train leaves platform 9 at 12:45, isn't it late?
a cake with 20 candles for grandmother's birthday
ships in the harbour, cranes in the fog
a map of the world on the wall of a classroom
un chat noir dort sur le canapé près de la fenêtre
eine Straße im Regen, ein Fahrrad, zwei Bäume
dos niños juegan en la playa con una pelota azul
кошка спит на красном стуле у окна
山和湖的照片 一只黑色的猫 两只鸟在树上
赤い椅子の上で眠る猫
قطة تنام على كرسي أحمر
""".strip().splitlines()
FRAME = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")  # Gemma's first ids


def clip_tokenizer(context_length: int) -> CLIPTokenizer:
    """Byte-level BPE between `<|startoftext|>` and `<|endoftext|>`, which has the largest id and pads."""
    vocab, merges = _parts(train_tokenizer(CORPUS, 800, mode="none"))
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=context_length)


def siglip_tokenizer(folder: Path, context_length: int, *, attention_mask: bool = False) -> SiglipTokenizer:
    """SentencePiece Unigram in lower case without punctuation, ended and padded by `</s>`; needs a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "spiece.model"
    file.write_bytes(_unigram(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    names = ["input_ids", "attention_mask"] if attention_mask else ["input_ids"]
    return SiglipTokenizer(str(file), model_max_length=context_length, model_input_names=names)


def gemma_tokenizer(context_length: int, *, lowercase: bool) -> GemmaTokenizer | Siglip2Tokenizer:
    """BPE over whole texts with bytes to fall back to, as Gemma's: `<eos>` ends a text, `<pad>` pads."""
    vocab, merges = _gemma_bpe(lowercase=lowercase)
    kind = Siglip2Tokenizer if lowercase else GemmaTokenizer
    tokenizer = kind(
        vocab=vocab,
        merges=merges,
        model_max_length=context_length,
        padding_side="right",
        model_input_names=["input_ids"],
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def bert_tokenizer(context_length: int) -> BertTokenizer:
    """WordPiece in lower case, Chinese character by character, between `[CLS]` and `[SEP]`."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return BertTokenizer(vocab=tokenizer.get_vocab(), model_max_length=context_length)


def xlm_roberta_tokenizer(context_length: int) -> XLMRobertaTokenizer:
    """Unigram with XLM-RoBERTa's first ids: `<s>`, `<pad>`, `</s>`, `<unk>`; `<mask>` is the last."""
    model = sentencepiece_model_pb2.ModelProto.FromString(_unigram(unk_id=0, bos_id=1, eos_id=2, pad_id=-1))
    frame = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(piece.piece, piece.score) for piece in model.pieces[3:]]
    return XLMRobertaTokenizer(
        vocab=[*frame, *pieces, ("<mask>", 0.0)],
        model_max_length=context_length,
        _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap,
    )


def _unigram(**ids: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_repeated(),
        model_writer=model,
        model_type="unigram",
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **ids,
    )
    return model.getvalue()


def _gemma_bpe(*, lowercase: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # words, or texts become tokens
    bytes_of_last_resort = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=[*FRAME, *bytes_of_last_resort], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _parts(tokenizer)


def _parts(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return tokenizer.get_vocab(), [(left, right) for left, right in merges]


def _repeated() -> Iterator[str]:
    """The trainer wants more sentences than there are: each with other neighbours."""
    for shift in range(8):
        for index, line in enumerate(CORPUS):
            yield f"{line} {CORPUS[(index + shift) % len(CORPUS)]}"
