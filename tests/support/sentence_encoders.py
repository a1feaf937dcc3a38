"""A tiny sentence encoder, as a folder of sentence-transformers: BERT with random weights and word pieces."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

WORDS = ("a", "photo", "of", "cat", "dog", "house", "red", "blue", "tree", "boat", "old", "small", "the")
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "##house")
WIDTH = 32
MEAN = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
STEPS = ("Transformer", "Pooling", "Normalize")


def write_sentence_encoder(folder: Path, seed: int = 0) -> Path:
    """Write weights, tokenizer and the files that say how tokens are pooled; return the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(PIECES),
                hidden_size=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=48,
                max_position_embeddings=16,
                initializer_range=0.5,
            )
        )
    model.save_pretrained(folder)
    _tokenizer().save(str(folder / "tokenizer.json"))
    write_steps(folder, STEPS)
    write_json(folder / "1_Pooling" / "config.json", MEAN)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": False})
    return folder


def write_package(site: Path, name: str) -> Path:
    """Write an encoder as a package that ships it under `model/`; return the package's folder."""
    write_sentence_encoder(site / name / "model")
    (site / name / "__init__.py").write_text("raise RuntimeError('code of a package ran')\n")
    return site / name


def write_steps(folder: Path, steps: tuple[str, ...]) -> None:
    """State the modules through which an embedding goes."""
    write_json(folder / "modules.json", [{"type": f"sentence_transformers.models.{step}"} for step in steps])


def write_json(file: Path, content: object) -> None:
    """Write a JSON file, in a new folder if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def _tokenizer() -> Tokenizer:
    ids = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.enable_padding(length=32)  # as published tokenizers do, whatever their encoder needs
    return tokenizer
