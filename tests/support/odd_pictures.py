"""Image files of every mode and of awkward sizes, cut from one photograph; knows nothing of models."""

from pathlib import Path

import numpy as np
from PIL import Image

from support.pictures import encoded

ORIENTATION = 0x0112  # EXIF tag


def odd_pictures(photograph: Path) -> dict[str, bytes]:
    """Encoded files by what is odd about them, all decoded and prepared in another way."""
    with Image.open(photograph) as opened:
        image = opened.convert("RGB")
    wide, tall = image.resize((91, 60)), image.resize((61, 90))
    gray = np.asarray(wide.convert("L"), dtype=np.uint16)
    transparent = tall.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(tall.size))
    return {
        "rgb": encoded(wide),
        "rgb webp, lossless": encoded(tall, "WEBP", lossless=True),
        "rgb jpeg": encoded(wide, "JPEG", quality=90),
        "gray": encoded(tall.convert("L")),
        "palette": encoded(wide.quantize(17)),
        "transparent": encoded(transparent),
        "transparent palette": encoded(transparent.quantize(31)),
        "16 bit": encoded(Image.fromarray(gray * 257)),
        "cmyk jpeg": encoded(tall.convert("CMYK"), "JPEG", quality=90),
        **{f"exif {turn}": _turned(tall, turn) for turn in range(1, 9)},
        "odd square": encoded(image.resize((35, 35))),
        "margin 3 mod 4": encoded(image.resize((83, 64))),
        "one pixel more": encoded(image.resize((33, 32))),
        "larger than any model": encoded(image.resize((501, 333))),
        "strip 20 to 1": encoded(image.resize((400, 20))),
        "strip 1 to 20": encoded(image.resize((20, 400))),
        "tiny": encoded(image.resize((5, 7))),
    }


def _turned(image: Image.Image, turn: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return encoded(image, "JPEG", quality=90, exif=exif)
