"""Guards against image files that are small to send and expensive to decode.

The size in a header bounds the number of pixels. The guards bound what the header does not state, for the
formats that are decoded in the server's own process: the scans and EXIF segments of a JPEG, the runs of a
BMP, the pieces that a file is read in, the length of an edge. What passes costs seconds at most, for the
largest files. Decoders of the formats in `formats.ISOLATED` are bounded by the process that they run in
instead.
"""

import io
import re
from dataclasses import dataclass
from itertools import islice

from PIL import ImageFile

from diptych.bundle.image.formats import ImageFormat
from diptych.bundle.image.jpeg import SOS, markers
from diptych.errors import TooLarge

MAX_EDGE_PX = 65_535  # the maximum of JPEG and GIF; a resize needs 32 to 48 bytes for each pixel of an edge
MAX_RLE_PX = 10_000_000  # Pillow unpacks run-length coded BMP in Python: this many pixels take a second
_MAX_READS = 100_000  # a 20 MB PNG in chunks of a kilobyte takes 60,000
_MAX_READS_BMP = 2_000_000  # run-length coded BMP is read run by run, in honest files too

MAX_EXIF_SEGMENTS = 16  # of 64 kB each; the standard allows one, and Pillow joins them in quadratic time
MAX_SCANS = 1_000
MAX_SCANS_AT_LIMIT = 20  # for the largest picture, which takes 2 s; progressive files have about 10 scans

_EXIF = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)
_MARKERS_PER_SCAN = 10  # tables and comments that may precede a scan


@dataclass(frozen=True)
class StructureGuard:
    """Satisfies `ImageGuard` of `diptych.bundle.image.decode`. It has no state and can be pickled."""

    def open(self, payload: bytes, image_format: ImageFormat) -> io.BytesIO:
        """Return the payload as a file for the decoder. Raises TooLarge if the file must not be opened."""
        if image_format == "JPEG":
            check_exif_segments(payload)
        return MeteredFile(payload, _MAX_READS_BMP if image_format == "BMP" else _MAX_READS)

    def check(
        self, image: ImageFile.ImageFile, payload: bytes, image_format: ImageFormat, max_px: int
    ) -> None:
        """Raises TooLarge for an image within `max_px` that is still too expensive to decode."""
        if max(image.size) > MAX_EDGE_PX:
            raise TooLarge(
                f"image has {image.width} x {image.height} pixels, limit for an edge is {MAX_EDGE_PX}"
            )
        n_px = image.width * image.height
        if image_format == "JPEG":
            assert image.fp is not None, "the file is open until its pixels are loaded"
            check_scans(
                payload, image.fp.tell(), n_px, max_px
            )  # the header is read up to the first scan's data
        if image_format == "BMP" and image.tile[0].codec_name == "bmp_rle" and n_px > MAX_RLE_PX:
            raise TooLarge(f"run-length coded BMP image has {n_px} pixels, limit is {MAX_RLE_PX}")


IMAGE_GUARD = StructureGuard()


class MeteredFile(io.BytesIO):
    """A file in memory that can be read in a limited number of pieces.

    A decoder that reads a file block by block in Python takes a second for each million blocks. A format that
    allows empty blocks fits millions of them into a small file, where honest files have thousands.
    """

    def __init__(self, payload: bytes, max_reads: int) -> None:
        super().__init__(payload)
        self._max_reads = max_reads
        self._n_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as from any file. Raises TooLarge when read more than `max_reads` times."""
        self._n_reads += 1
        if self._n_reads > self._max_reads:
            raise TooLarge(f"image is cut into too many pieces, over {self._max_reads} reads")
        return super().read(size)


def check_exif_segments(payload: bytes) -> None:
    """Raises TooLarge for more EXIF segments than any honest JPEG has."""
    if sum(1 for _ in islice(_EXIF.finditer(payload), MAX_EXIF_SEGMENTS + 1)) > MAX_EXIF_SEGMENTS:
        raise TooLarge(f"JPEG image has over {MAX_EXIF_SEGMENTS} EXIF segments")


def check_scans(payload: bytes, first: int, n_px: int, max_px: int) -> None:
    """Raises TooLarge for too many scans of a JPEG of `n_px` pixels whose first scan's data begins at
    `first`.

    Each scan goes over the whole picture again and may take a dozen bytes: a megabyte of scans keeps a
    decoder busy for minutes.
    """
    max_scans = min(MAX_SCANS, MAX_SCANS_AT_LIMIT * max_px // max(n_px, 1))
    # Counting bytes is nearly free, but also counts what follows the picture in the file: then parse the
    # markers.
    if payload.count(b"\xff\xda", first) >= max_scans and _has_more_scans(payload, first, max_scans):
        raise TooLarge(f"JPEG image of {n_px} pixels has more than {max_scans} scans")


def _has_more_scans(payload: bytes, position: int, max_scans: int) -> bool:
    n_scans = 1
    for n_markers, (code, _) in enumerate(markers(payload, position), 1):
        n_scans += code == SOS
        if n_scans > max_scans or n_markers > max_scans * _MARKERS_PER_SCAN:
            return True
    return False
