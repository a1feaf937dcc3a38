"""Refuse image files that are cheap to send and dear to read, by their structure; knows nothing of models.

Sizes in the header bound the pixels. This bounds what the header does not say of the formats that are decoded
in the server's process: scans, blocks and metadata. What remains costs seconds at most, for the largest
files. Decoders of `formats.ISOLATED` are bounded by the process that they run in.
"""

from PIL import ImageFile

from diptych.bundle.image.formats import ImageFormat
from diptych.bundle.image.jpeg_guard import check_exif_segments, check_scans
from diptych.bundle.image.metered import MeteredFile
from diptych.errors import TooLarge

MAX_EDGE_PX = 65_535  # what JPEG and GIF can have; a resize needs 32 to 48 bytes for each pixel of an edge
MAX_RLE_PX = 10_000_000  # run-length coded BMP is unpacked in Python: this takes a second
_MAX_READS = 100_000  # 20 MB of PNG in chunks of a kilobyte take 60,000
_MAX_READS_BMP = 2_000_000  # each run is read by itself, and an honest file is nothing else


def metered(payload: bytes, image_format: ImageFormat) -> MeteredFile:
    """The payload as a file for the decoder. Raises TooLarge for what must not even be opened."""
    if image_format == "JPEG":
        check_exif_segments(payload)
    return MeteredFile(payload, _MAX_READS_BMP if image_format == "BMP" else _MAX_READS)


def check_opened(image: ImageFile.ImageFile, payload: bytes, image_format: ImageFormat, max_px: int) -> None:
    """Raises TooLarge for what must not be decoded, although its size is within `max_px`."""
    if max(image.size) > MAX_EDGE_PX:
        raise TooLarge(f"image has {image.width} x {image.height} pixels, limit for an edge is {MAX_EDGE_PX}")
    n_px = image.width * image.height
    if image_format == "JPEG":
        assert image.fp is not None, "open until its pixels are loaded"
        check_scans(payload, image.fp.tell(), n_px, max_px)  # read up to the data of the first scan
    if image_format == "BMP" and image.tile[0].codec_name == "bmp_rle" and n_px > MAX_RLE_PX:
        raise TooLarge(f"run-length coded BMP image has {n_px} pixels, limit is {MAX_RLE_PX}")
