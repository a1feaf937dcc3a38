"""Pictures with the EXIF that cameras write, made with Pillow."""

from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from support.pictures import encoded

TAKEN = "2024:05:01 10:11:12"
CAMERA: Mapping[str, Any] = {"Make": "Canon", "Model": "Canon EOS R5"}
DETAILS: Mapping[str, Any] = {
    "DateTimeOriginal": TAKEN,
    "OffsetTimeOriginal": "+02:00",
    "LensModel": "RF24-70mm F2.8 L IS USM",
}
ROME: Mapping[str, Any] = {
    "GPSLatitudeRef": "N",
    "GPSLatitude": (41.0, 53.0, 24.84),
    "GPSLongitudeRef": "E",
    "GPSLongitude": (12.0, 29.0, 32.28),
}
BASIC = {"taken_at": "2024-05-01T10:11:12+02:00", "camera": "Canon EOS R5", "lens": DETAILS["LensModel"]}
PLACE = {"latitude": 41.890233, "longitude": 12.4923}


def exif(
    camera: Mapping[str, Any] = CAMERA,
    details: Mapping[str, Any] = DETAILS,
    place: Mapping[str, Any] = ROME,
) -> Image.Exif:
    """EXIF of tags by their names; `details` and `place` have directories of their own."""
    found = Image.Exif()
    found.update({ExifTags.Base[name]: value for name, value in camera.items()})
    found.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base[name]: value for name, value in details.items()})
    found.get_ifd(ExifTags.IFD.GPSInfo).update({ExifTags.GPS[name]: value for name, value in place.items()})
    return found


def photograph(colour: tuple[int, int, int] = (90, 120, 30), form: str = "JPEG", **tags: Any) -> bytes:
    """A small picture with EXIF; `tags` are those of `exif`."""
    return encoded(Image.new("RGB", (40, 32), colour), form, exif=exif(**tags).tobytes())
