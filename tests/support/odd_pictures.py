"""Image files of every mode and of awkward sizes, cut from one photograph; knows nothing of models."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

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
        "rgb": _encode(wide),
        "rgb webp, lossless": _encode(tall, "WEBP", lossless=True),
        "rgb jpeg": _encode(wide, "JPEG", quality=90),
        "gray": _encode(tall.convert("L")),
        "palette": _encode(wide.quantize(17)),
        "transparent": _encode(transparent),
        "transparent palette": _encode(transparent.quantize(31)),
        "16 bit": _encode(Image.fromarray(gray * 257)),
        "cmyk jpeg": _encode(tall.convert("CMYK"), "JPEG", quality=90),
        **{f"exif {turn}": _turned(tall, turn) for turn in range(1, 9)},
        "odd square": _encode(image.resize((35, 35))),
        "margin 3 mod 4": _encode(image.resize((83, 64))),
        "one pixel more": _encode(image.resize((33, 32))),
        "larger than any model": _encode(image.resize((501, 333))),
        "strip 20 to 1": _encode(image.resize((400, 20))),
        "strip 1 to 20": _encode(image.resize((20, 400))),
        "tiny": _encode(image.resize((5, 7))),
    }


def _turned(image: Image.Image, turn: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return _encode(image, "JPEG", quality=90, exif=exif)


def _encode(image: Image.Image, form: str = "PNG", **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()
