"""What both kinds of imports are compared on: texts, photographs, and how alike features are."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.importing.common.imported_model import ImportedModel

SAME = 1 - 1e-5  # cosine; float32 rounding over a few layers
LIMITS = ImageLimits(max_bytes=10**7, max_px=10**7)
ORDINARY = [
    "a photo of a cat",
    "Two Birds sit on a branch",
    "the old man's bicycle, isn't it?",
    "a cake with 20 candles",
    "x",
    "a very long caption " * 40,
    "山和湖的照片",
    "eine Straße im Regen",
    "кошка спит на стуле",
    "قطة تنام",
    "two  spaces and a\ttab",
    "line one\nline two",
    "rock & roll; 50% off (today) #1",
    "café de\u0301ja\u0300 vu",
    "\u201ccurly\u201d it\u2019s",
]
AWKWARD = [
    "",
    "   ",
    " leading",
    "trailing ",
    "👩‍👩‍👧 family 🇫🇷",
    "ＦＵＬＬ ｗｉｄｔｈ",
    "\u200bzero width",
    "\ufb01ne ligature",
    "ΟΔΟΣ",
    "tom &amp; jerry &amp;lt;b&gt;",
    "â€œmojibakeâ€\x9d",
    "bell \x07 and null-free \x1c",
    "snake_case",
    "!!!",
]


def photographs() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (90, 61), (61, 90), (40, 200), (35, 35), (123, 70), (20, 17)]
    images = []
    for width, height in sizes:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        images.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return images


def prepared(imported: ImportedModel, images: list[Image.Image]) -> np.ndarray:
    return np.stack([preprocess(image, imported.image, LIMITS) for image in images])


def normalised(imported: ImportedModel, pixels: np.ndarray) -> torch.Tensor:
    mean, std = torch.tensor(imported.image.mean), torch.tensor(imported.image.std)
    return ((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def text_tokenizer(imported: ImportedModel, folder: Path) -> TextTokenizer:
    imported.tokenizer.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder / "tokenizer.json", imported.text)


def least_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / norms).min())


def assert_images_follow(imported: ImportedModel) -> None:
    """Features equal the library's from the photograph on, and those of another photograph do not."""
    images = photographs()
    with torch.no_grad():
        found = imported.model.encode_image(normalised(imported, prepared(imported, images)))
    expected = imported.library.encode_images(images)
    assert expected.shape == (len(images), imported.embed_dim)
    assert least_cosine(found.numpy(), expected) >= SAME
    assert least_cosine(np.roll(expected, 1, axis=0), expected) < 0.999


def assert_texts_follow(imported: ImportedModel, folder: Path) -> None:
    """Features equal the library's from the string on, in a batch and alone."""
    tokenizer = text_tokenizer(imported, folder)
    expected = imported.library.encode_texts(ORDINARY)
    with torch.no_grad():
        together, *alone = (
            imported.model.encode_text(torch.from_numpy(tokenizer(texts).input_ids).long())
            for texts in (ORDINARY, *([text] for text in ORDINARY))
        )
    assert least_cosine(together.numpy(), expected) >= SAME
    assert least_cosine(torch.cat(alone).numpy(), expected) >= SAME
    assert least_cosine(np.roll(expected, 1, axis=0), expected) < 0.999


def differing_ids(imported: ImportedModel, texts: list[str], folder: Path) -> list[str]:
    """The texts whose ids are not the library's."""
    tokenizer = text_tokenizer(imported, folder)
    return [text for text in texts if tokenizer.ids(text)[0].tolist() != imported.library.input_ids(text)]
