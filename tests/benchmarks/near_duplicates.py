"""How far near duplicates are found, and what is mistaken for one: python tests/benchmarks/near_duplicates.py

The gallery's drawings, which are alike in style, and the photographs that scikit-image and scikit-learn ship:
each is changed in the ways that copies on the web are, and compared with all originals of its kind.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from diptych.bundle.image import ImageLimits, load_pixels
from diptych_training.data.cells import Rows, image_cells
from diptych_training.data.pairs.near import SPEC
from diptych_training.importing.photos import photographs

GALLERY = Path(__file__).parents[2] / "server" / "gallery"
THRESHOLDS = (0.9, 0.95, 0.97, 0.98, 0.99)
MAX_SIDE_PX = 640
Change = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image, quality: int) -> Image.Image:
    """Through a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue()))


def scaled(image: Image.Image, share: float) -> Image.Image:
    """To a share of its size."""
    return image.resize(tuple(max(1, round(side * share)) for side in image.size), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without this share of each side at each edge."""
    width, height = image.size
    return image.crop((width * share, height * share, width * (1 - share), height * (1 - share)))


CHANGES: dict[str, Change] = {
    "JPEG, quality 30": lambda image: saved(image, 30),
    "a third of the size": lambda image: scaled(image, 1 / 3),
    "20% darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "30% less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "1% cut off each edge": lambda image: cropped(image, 0.01),
    "3% cut off each edge": lambda image: cropped(image, 0.03),
    "10% cut off each edge": lambda image: cropped(image, 0.1),
    "turned by 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC, fillcolor="white"),
}  # fmt: skip


def cells(images: list[Image.Image]) -> Rows:
    """(N, F) as the filter makes them."""
    files = []
    for image in images:
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        files.append(load_pixels(out.getvalue(), SPEC, ImageLimits()))
    return image_cells(np.stack(files))


def opened(files: list[Path]) -> list[Image.Image]:
    """Upright RGB, at most MAX_SIDE_PX."""
    images = [Image.open(file).convert("RGBA") for file in files]
    for image in images:
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    white = [Image.new("RGBA", image.size, "white") for image in images]
    return [Image.alpha_composite(*two).convert("RGB") for two in zip(white, images, strict=True)]


def table(title: str, images: list[Image.Image]) -> None:
    """Print the share of changed images that are near their original, and of originals near another one."""
    originals = cells(images)
    print(f"\n{title}: {len(images)} images")
    print(f"{'':24}" + "".join(f"{f'>= {threshold}':>9}" for threshold in THRESHOLDS))
    for name, change in CHANGES.items():
        own = (cells([change(image) for image in images]) * originals).sum(axis=1)
        print(f"{name:24}" + "".join(f"{(own >= threshold).mean():>9.1%}" for threshold in THRESHOLDS))
    others = originals @ originals.T
    np.fill_diagonal(others, -1)
    print(
        f"{'near another original':24}" + "".join(f"{(others.max(1) >= t).mean():>9.1%}" for t in THRESHOLDS)
    )


if __name__ == "__main__":
    table("drawings", opened(sorted(GALLERY.glob("*.png"))))
    table("photographs", opened([photograph.path for photograph in photographs()]))
