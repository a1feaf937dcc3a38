"""Open image bytes within limits and hand back their upright first picture; knows nothing of models.

The one boundary around Pillow: whatever a decoder raises leaves here as an InputError.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError, features

from diptych.bundle.image import heic
from diptych.bundle.image.formats import MEDIA_TYPES, ImageFormat, sniff
from diptych.bundle.image.guards import check_opened, metered
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

MAX_EXIF_BYTES = 1_200_000  # beyond it is not read: the decoder makes an object of every number in a tag

Needed = Callable[[int, int], tuple[int, int]]  # of an upright (width, height): what is enough of it


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost. `max_px` bounds the decoded image and its resized intermediate, each."""

    max_bytes: int = 20_000_000
    max_px: int = 50_000_000

    def __post_init__(self) -> None:
        ceiling = (
            Image.MAX_IMAGE_PIXELS
        )  # past it the decoder warns, then refuses: its word would mix with ours
        if ceiling is not None and self.max_px > ceiling:
            raise ConfigError(f"max_px is {self.max_px}, the image decoder goes up to {ceiling}")

    def check_px(self, width: int, height: int, what: str) -> None:
        """Raises TooLarge, naming `what` has that size."""
        if width * height > self.max_px:
            raise TooLarge(f"{what} has {width} x {height} = {width * height} pixels, limit is {self.max_px}")


@dataclass(frozen=True)
class ImageInfo:
    """What the header says: sizes in pixels, as stored (before EXIF turns the picture upright)."""

    format: ImageFormat
    media_type: str
    width: int
    height: int


# Hears what the header says before any pixel is decoded: raises InputError for what must not be decoded, and
# may wait until there is room for what may.
OnHeader = Callable[[ImageInfo], None]


def probe(payload: bytes, limits: ImageLimits) -> ImageInfo:
    """Read the header only. Raises UnsupportedImage, UndecodableImage, TooLarge."""
    image_format = _format(payload, limits)
    with _opened(payload, image_format, limits) as image:
        return _info(image, image_format)


@dataclass(frozen=True)
class Decoded:
    """An upright picture. `width` and `height` are those of the file; the image may be a smaller copy."""

    image: Image.Image
    width: int
    height: int

    @property
    def is_scaled(self) -> bool:
        """Whether the decoder left out detail."""
        return self.image.size != (self.width, self.height)


def decode(
    payload: bytes,
    limits: ImageLimits,
    convert: Callable[[Image.Image], Image.Image],
    on_header: OnHeader | None = None,
) -> Image.Image:
    """Decode the first picture fully, `convert` its colours and turn it upright.

    Limits and `on_header` see the header before any pixel is decoded. It is read once.
    Raises UnsupportedImage, UndecodableImage (truncated files too), TooLarge.
    """
    return decode_scaled(payload, limits, convert, on_header).image


def decode_scaled(
    payload: bytes,
    limits: ImageLimits,
    convert: Callable[[Image.Image], Image.Image],
    on_header: OnHeader | None = None,
    needed: Needed | None = None,
) -> Decoded:
    """As `decode`; a JPEG of 2, 4 or 8 times what is `needed` is decoded to a half, a quarter or an eighth.

    That leaves out the fine coefficients of each 8 x 8 block of its cosine transform, and gives pixels that
    differ from those of a full decode which is scaled down afterwards.
    """
    image_format = _format(payload, limits)
    with _opened(payload, image_format, limits) as image:
        if on_header is not None:
            on_header(_info(image, image_format))
        size = image.size
        if needed is not None and image_format == "JPEG":  # whose EXIF stands before its pixels
            transpose = _UPRIGHT.get(_orientation(image))
            image.draft(None, _turned(needed(*_turned(size, transpose)), transpose))
        image.load()
        transpose = _UPRIGHT.get(_orientation(image))
        converted = convert(image)
        upright = converted if transpose is None else converted.transpose(transpose)
        if image_format == "HEIC" and upright is image:  # which unpacks itself again at every use
            upright = image.copy()
        upright.info = {}  # metadata is of no use any more, and would be copied with every part
        return Decoded(upright, *_turned(size, transpose))


def silence_decoders() -> None:
    """For a server: the error says what is wrong with a file, and a caller must not fill the log with it.

    Of thousands of damaged tags each is warned of in words of its own, and Python keeps all of them for ever.
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
        installed = ", ".join(name for name in MEDIA_TYPES if not _why_not(name))
        raise UnsupportedImage(f"not an image in one of: {installed}")
    if why_not := _why_not(image_format):
        raise UnsupportedImage(why_not)
    return image_format


def _why_not(image_format: ImageFormat) -> str:
    """Why this installation reads no such images; empty where it does."""
    if image_format == "HEIC":
        return heic.why_not()
    feature = _OPTIONAL_DECODERS.get(image_format)
    is_missing = feature is not None and not features.check(feature)
    return f"this installation has no decoder for {image_format}" if is_missing else ""


def _info(image: Image.Image, image_format: ImageFormat) -> ImageInfo:
    return ImageInfo(image_format, MEDIA_TYPES[image_format], *image.size)


@contextmanager
def _opened(payload: bytes, image_format: ImageFormat, limits: ImageLimits) -> Iterator[Image.Image]:
    try:
        with Image.open(
            metered(payload, image_format), formats=[_PILLOW_NAMES.get(image_format, image_format)]
        ) as image:
            limits.check_px(*image.size, "image")
            check_opened(image, payload, image_format, limits.max_px)
            yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"[0-9]+", str(error))  # the decoder's word has its own limit, and advice
        n_px = found.group() if found else "too many"
        raise TooLarge(f"image has {n_px} pixels, limit is {limits.max_px}") from error
    except UnidentifiedImageError as error:  # its own message shows a memory address
        if image_format == "TIFF":  # whose intact files of rarer layouts end here too
            message = "this kind of TIFF cannot be read, or its header is damaged"
            raise UnsupportedImage(message) from error
        raise UndecodableImage(f"{image_format} image: header is damaged") from error
    except (
        Exception
    ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, MemoryError, ...
        raise UndecodableImage(f"{image_format} image: {_said(error):.200}") from error


def _said(error: Exception) -> str:
    """Its message on one line, without control characters; its kind where it has none."""
    printable = "".join(char if char.isprintable() else " " for char in str(error))
    return " ".join(printable.split()) or type(error).__name__


def _turned(size: tuple[int, int], transpose: Image.Transpose | None) -> tuple[int, int]:
    """(width, height) after the transposition, or before it: each is its own inverse in this."""
    width, height = size
    return (height, width) if transpose in _SIDEWAYS else (width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Unreadable EXIF means upright: the picture itself is sound."""
    if len(image.info.get("exif") or b"") > MAX_EXIF_BYTES:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
