"""Ratings in XMP; captions are tested where training reads them."""

import pytest

from diptych.bundle.image.xmp import Xmp, read_xmp
from support.embedded_captions import xmp_of


@pytest.mark.parametrize(
    ("text", "stars"),
    [
        ("5", 5),
        ("3.0", 3),
        ("-1", -1),
        ("0", None),
        ("6", None),
        ("-2", None),
        ("nan", None),
        ("1e999", None),
    ],
)
def test_rating_is_read_if_it_is_one(text: str, stars: int | None) -> None:
    assert read_xmp(xmp_of(rating=text)) == Xmp(rating=stars)


def test_rating_is_read_as_an_element_too() -> None:
    packet = xmp_of(subject=["bird"]).replace(
        b"<dc:subject>", b'<x:Rating xmlns:x="http://ns.adobe.com/xap/1.0/"> 4 </x:Rating><dc:subject>'
    )
    assert read_xmp(packet) == Xmp(keywords=("bird",), rating=4)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_packet_in_utf_16_is_read(encoding: str) -> None:
    packet = xmp_of(title={"x-default": "Vögel"}).decode().strip()
    packet = packet.removeprefix('<?xml version="1.0" encoding="UTF-8"?>')
    assert read_xmp(packet.encode(encoding)) == Xmp(title="Vögel")


@pytest.mark.parametrize("encoding", ["foo", "zlib", "hex", "rot13", "idna", "utf-7", "big5"])
def test_encoding_that_cannot_be_read_is_told(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"encoding|codec|token|decod"):
        read_xmp(f'<?xml version="1.0" encoding="{encoding}"?><a>x</a>'.encode())
