"""Pictures as small WebP files inside a page."""

import base64
import io

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Pixels

LARGEST = 112  # pixels of a side; larger pictures are made smaller
QUALITY = 80


def picture_uri(pixels: Pixels) -> str:
    """(H, W, 3) -> ``data:image/webp;base64,...``."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "webp", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
