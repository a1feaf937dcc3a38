"""Decode image bytes within limits to their first picture, turned upright.

This module is the only one that calls Pillow's decoders: it turns whatever they raise into an InputError.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from diptych.bundle.image import heic
from diptych.bundle.image.exif import NO_EXIF, Exif, exif_of
from diptych.bundle.image.formats import MEDIA_TYPES, ImageFormat, sniff
from diptych.bundle.image.jpeg import lacks_data
from diptych.errors import ConfigError, InputError, TooLarge, UndecodableImage, UnsupportedImage

_OPTIONAL_DECODERS: dict[ImageFormat, str] = {"WEBP": "webp", "AVIF": "avif"}

_PILLOW_NAMES = {"HEIC": "HEIF"}

_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = frozenset(
    {
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    }
)

_PHOTOSHOP_IPTC = 0x0404  # the resource of APP13 that holds IPTC
MAX_EXIF_BYTES = 1_200_000  # longer EXIF is ignored: Pillow makes an object of every number in a tag

Needed = Callable[[int, int], tuple[int, int]]  # upright (width, height) -> the (width, height) that suffice


class ImageGuard(Protocol):
    """Refuses files that are expensive to decode because of their structure, not their size."""

    def open(self, payload: bytes, image_format: ImageFormat) -> io.BytesIO:
        """Return the payload as a file for the decoder. Raises TooLarge if the file must not be opened."""
        ...

    def check(
        self, image: ImageFile.ImageFile, payload: bytes, image_format: ImageFormat, max_px: int
    ) -> None:
        """Raises TooLarge for an image within `max_px` that is still too expensive to decode."""
        ...


@dataclass(frozen=True)
class ImageLimits:
    """Limits on one image.

    `max_px` bounds the decoded image and its resized intermediate, each. Whoever decodes files that they do
    not trust passes a `guard`.
    """

    max_bytes: int = 20_000_000
    max_px: int = 50_000_000
    guard: ImageGuard | None = None

    def __post_init__(self) -> None:
        # Above its own maximum Pillow warns, then refuses, with messages that would mix with ours.
        ceiling = Image.MAX_IMAGE_PIXELS
        if ceiling is not None and self.max_px > ceiling:
            raise ConfigError(f"max_px is {self.max_px}, the image decoder goes up to {ceiling}")

    def check_px(self, width: int, height: int, what: str) -> None:
        """Raises TooLarge; `what` begins the message."""
        if width * height > self.max_px:
            raise TooLarge(f"{what} has {width} x {height} = {width * height} pixels, limit is {self.max_px}")


@dataclass(frozen=True)
class ImageInfo:
    """The format and size that the header states: pixels as stored, before EXIF turns the picture upright.

    `exif` is what else the camera recorded.
    """

    format: ImageFormat
    media_type: str
    width: int
    height: int
    exif: Exif = field(default=NO_EXIF, repr=False)  # a place belongs in no log


# Called with the header before any pixel is decoded. It may raise InputError to refuse the image, and may
# block until there is memory for it.
OnHeader = Callable[[ImageInfo], None]


def probe(payload: bytes, limits: ImageLimits) -> ImageInfo:
    """Read the header only. Raises UnsupportedImage, UndecodableImage, TooLarge."""
    image_format = _format(payload, limits)
    with _opened(payload, image_format, limits) as image:
        return _info(image, image_format, payload)


@dataclass(frozen=True)
class TextBlocks:
    """The blocks of a file in which programs write texts about the picture; empty without one."""

    xmp: bytes = b""
    iptc: bytes = b""


def text_blocks(payload: bytes, limits: ImageLimits) -> TextBlocks:
    """Read the header only. Raises UnsupportedImage, UndecodableImage, TooLarge."""
    image_format = _format(payload, limits)
    with _opened(payload, image_format, limits) as image:
        photoshop = image.info.get("photoshop")
        iptc = photoshop.get(_PHOTOSHOP_IPTC) if isinstance(photoshop, dict) else None
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            iptc = image.tag_v2.get(TiffImagePlugin.IPTC_NAA_CHUNK)
        xmp = image.info.get("xmp")
        return TextBlocks(*(one if isinstance(one, bytes) else b"" for one in (xmp, iptc)))


@dataclass(frozen=True)
class Decoded:
    """An upright picture. `width` and `height` are the file's; the image may be a smaller copy."""

    image: Image.Image
    width: int
    height: int

    @property
    def is_scaled(self) -> bool:
        """Whether the image was decoded at a reduced size."""
        return self.image.size != (self.width, self.height)


def decode(
    payload: bytes,
    limits: ImageLimits,
    convert: Callable[[Image.Image], Image.Image],
    on_header: OnHeader | None = None,
) -> Image.Image:
    """Decode the first picture fully, apply `convert` to its colours and turn it upright.

    The header is read once; the limits and `on_header` check it before any pixel is decoded.
    Raises UnsupportedImage, UndecodableImage (truncated files too, and JPEGs with too little data), TooLarge.
    """
    return decode_scaled(payload, limits, convert, on_header).image


def decode_scaled(
    payload: bytes,
    limits: ImageLimits,
    convert: Callable[[Image.Image], Image.Image],
    on_header: OnHeader | None = None,
    needed: Needed | None = None,
) -> Decoded:
    """Decode as `decode` does, but a JPEG that is much larger than `needed` at a reduced size.

    A JPEG of 2, 4 or 8 times the needed size is decoded to a half, a quarter or an eighth.

    This drops the fine coefficients of each 8 x 8 block of the JPEG's cosine transform. The pixels differ
    from those of a full decode that is scaled down afterwards.
    """
    image_format = _format(payload, limits)
    with _opened(payload, image_format, limits) as image:
        if on_header is not None:
            on_header(_info(image, image_format, payload))
        size = image.size
        if needed is not None and image_format == "JPEG":  # its EXIF precedes its pixels
            transpose = _UPRIGHT.get(_orientation(image))
            image.draft(None, _turned(needed(*_turned(size, transpose)), transpose))
        image.load()
        if image_format == "JPEG" and lacks_data(payload, image):
            raise UndecodableImage(f"JPEG image: has data for fewer than {size[0]} x {size[1]} pixels")
        transpose = _UPRIGHT.get(_orientation(image))
        converted = convert(image)
        upright = converted if transpose is None else converted.transpose(transpose)
        if image_format == "HEIC" and upright is image:  # it would be unpacked again at every use
            upright = image.copy()
        upright.info = {}  # no longer needed, and copied with every crop
        return Decoded(upright, *_turned(size, transpose))


def silence_decoders() -> None:
    """Silence Pillow's warnings and log, for a server.

    The error already says what is wrong with a file, and a caller must not be able to fill the log. Pillow
    warns of each of thousands of damaged tags in different words, and Python keeps every distinct warning for
    ever.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _format(payload: bytes, limits: ImageLimits) -> ImageFormat:
    if len(payload) > limits.max_bytes:
        raise TooLarge(f"image has {len(payload)} bytes, limit is {limits.max_bytes}")
    if not payload:
        raise UnsupportedImage("image is empty (0 bytes)")
    image_format = sniff(payload)
    if image_format is None:
        installed = ", ".join(name for name in MEDIA_TYPES if not _why_unsupported(name))
        raise UnsupportedImage(f"not an image in one of: {installed}")
    if reason := _why_unsupported(image_format):
        raise UnsupportedImage(reason)
    return image_format


def _why_unsupported(image_format: ImageFormat) -> str:
    """The reason why this installation cannot decode the format; empty if it can."""
    if image_format == "HEIC":
        return heic.why_unsupported()
    feature = _OPTIONAL_DECODERS.get(image_format)
    is_missing = feature is not None and not features.check(feature)
    return f"this installation has no decoder for {image_format}" if is_missing else ""


def _info(image: Image.Image, image_format: ImageFormat, payload: bytes) -> ImageInfo:
    exif = exif_of(payload, image_format, image.info.get("exif"))
    return ImageInfo(image_format, MEDIA_TYPES[image_format], *image.size, exif)


@contextmanager
def _opened(payload: bytes, image_format: ImageFormat, limits: ImageLimits) -> Iterator[Image.Image]:
    try:
        guard = limits.guard
        file = io.BytesIO(payload) if guard is None else guard.open(payload, image_format)
        with Image.open(file, formats=[_PILLOW_NAMES.get(image_format, image_format)]) as image:
            limits.check_px(*image.size, "image")
            if guard is not None:
                guard.check(image, payload, image_format, limits.max_px)
            yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"[0-9]+", str(error))  # Pillow's message names its own limit, and gives advice
        n_px = found.group() if found else "too many"
        raise TooLarge(f"image has {n_px} pixels, limit is {limits.max_px}") from error
    except UnidentifiedImageError as error:  # its own message contains a memory address
        if image_format == "TIFF":  # intact files of rare layouts end here too
            message = "this kind of TIFF cannot be read, or its header is damaged"
            raise UnsupportedImage(message) from error
        raise UndecodableImage(f"{image_format} image: header is damaged") from error
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, MemoryError, ...
        raise UndecodableImage(f"{image_format} image: {_one_line(error):.200}") from error


def _one_line(error: Exception) -> str:
    """The error's message on one line, without control characters; its class name if it has none."""
    printable = "".join(char if char.isprintable() else " " for char in str(error))
    return " ".join(printable.split()) or type(error).__name__


def _turned(size: tuple[int, int], transpose: Image.Transpose | None) -> tuple[int, int]:
    """(width, height) after the transposition, and equally before it: swapping is its own inverse."""
    width, height = size
    return (height, width) if transpose in _SIDEWAYS else (width, height)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Unreadable EXIF counts as upright (1): the picture itself is sound."""
    if len(image.info.get("exif") or b"") > MAX_EXIF_BYTES:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
