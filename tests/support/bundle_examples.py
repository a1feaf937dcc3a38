"""Small bundles, specs and encoded images for tests of several packages."""

from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from diptych.bundle.manifest import ImageSpec, ManifestDraft, Parity, Precision, TextSpec

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "photo", "of", "red", "blue", "cat", "dog"]
PAD, START, END, UNK = range(4)


def image_spec(**changes: object) -> ImageSpec:
    values = {
        "size": 32,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "crop": "round",
        "alpha": "white",
    }
    return ImageSpec(**{**values, **changes})


def text_spec(**changes: object) -> TextSpec:
    values = {
        "context_length": 8,
        "clean": "clip",
        "pad_to": "longest",
        "pad_id": PAD,
        "prompts": {"default": ["a photo of {}"]},
    }
    return TextSpec(**{**values, **changes})


def parity() -> Parity:
    return Parity(
        cosine_min=1.0,
        cosine_mean=1.0,
        top1_agreement=1.0,
        n_near_ties=0,
        recall_delta=0.0,
        batch_cosine_min=1.0,
        n_images=1000,
        n_texts=100,
    )


def draft(**changes: object) -> ManifestDraft:
    graphs = {"image_file": "image_encoder.onnx", "text_file": "text_encoder.onnx"}
    values = {
        "family": "clip",
        "embed_dim": 4,
        "logit_scale": 100.0,
        "image": image_spec(),
        "text": text_spec(),
        "precisions": {"fp32": Precision(**graphs, parity=parity())},
        "source": {"kind": "trained"},
        "metrics": {"top1": 0.5},
        "data_card": "none",
        "licence": "Apache-2.0",
    }
    return ManifestDraft(**{**values, **changes})


def word_tokenizer() -> Tokenizer:
    """Return a tokenizer of one id per word between `<start>` and `<end>`, without padding or truncation."""
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    return tokenizer


def save_word_tokenizer(path: Path) -> Path:
    word_tokenizer().save(str(path))
    return path


def fill_bundle(folder: Path) -> None:
    """Write the files that a manifest must list, with a few bytes each."""
    for name in ("image_encoder.onnx", "text_encoder.onnx", "golden.npz"):
        (folder / name).write_bytes(name.encode())
    save_word_tokenizer(folder / "tokenizer.json")


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> Image.Image:
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(samples.squeeze(-1) if channels == 1 else samples)
