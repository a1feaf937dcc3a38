"""Golden items, on which a server tests itself: image files, awkward texts, and reference embeddings."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Encoder
from diptych.bundle.golden import Golden
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer

Variant = Callable[[Image.Image], bytes]

# Each exercises another path of cleaning, tokenising, truncation or padding.
AWKWARD_TEXTS = (
    "",
    "A",
    "  Red   HEART  ",
    "caf&eacute; &amp;amp; tea",
    "flag: Côte d’Ivoire",
    "don't",
    "12:30",
    "schÃ¶n",  # mis-decoded; cleaning repairs it
    "犬 🐕",
    "<|endoftext|> is only text",
    "a very long description of a drawing that has many more words than any model of this kind can read " * 3,
)


def make_golden(
    images: Sequence[Image.Image],
    labels: list[str],
    encoder: Encoder,
    tokenizer: TextTokenizer,
    spec: ImageSpec,
) -> Golden:
    """Make golden items from N RGB images and their labels, with embeddings of the reference encoder.

    Files are PNG: decoders of other formats differ between machines.
    """
    files = [VARIANTS[index % len(VARIANTS)](image) for index, image in enumerate(images)]
    pixels = np.stack([load_pixels(file, spec, ImageLimits()) for file in files])  # (N, S, S, 3)
    texts = [*dict.fromkeys(labels), *AWKWARD_TEXTS]
    input_ids = tokenizer(texts).input_ids  # (M, L)
    return Golden(
        image_files=files,
        pixels=pixels,
        image_embedding=encoder.encode_image(pixels),
        texts=texts,
        input_ids=input_ids,
        text_embedding=encoder.encode_text(input_ids),
    )


def _rgb(image: Image.Image) -> bytes:
    return _png(image)


def _wide(image: Image.Image) -> bytes:
    return _png(image.crop((0, 0, image.width, max(1, image.height * 5 // 8))))


def _tall_and_large(image: Image.Image) -> bytes:
    return _png(image.resize((image.width * 2 + 1, image.height * 3), Image.Resampling.BICUBIC))


def _small(image: Image.Image) -> bytes:
    return _png(
        image.resize((max(1, image.width // 3), max(1, image.height // 2)), Image.Resampling.BILINEAR)
    )


def _grayscale(image: Image.Image) -> bytes:
    return _png(image.convert("L"))


def _palette(image: Image.Image) -> bytes:
    return _png(image.quantize(32))


def _transparent(image: Image.Image) -> bytes:
    with_alpha = image.copy()
    with_alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    return _png(with_alpha)


def _sixteen_bit(image: Image.Image) -> bytes:
    gray = np.asarray(image.convert("L"), dtype=np.uint16)
    return _png(Image.fromarray(gray * 257))


def _rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    return _png(image, exif=exif)


def _png(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    if exif is None:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "PNG", optimize=True, exif=exif)
    return buffer.getvalue()


VARIANTS: tuple[Variant, ...] = (
    _rgb, _wide, _tall_and_large, _small, _grayscale, _palette, _transparent, _sixteen_bit, _rotated,
)  # fmt: skip
