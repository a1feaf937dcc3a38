"""Captions inside pictures: what programs write, and what no program should."""

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diptych.bundle.image.preprocess import ImageLimits
from diptych_training.data.pairs.embedded.captions import embedded_texts
from diptych_training.data.pairs.pair import Texts
from support.embedded_captions import in_jpeg, iptc_of, xmp_of
from support.pictures import encoded

LIMITS = ImageLimits()
HERON = Image.new("RGB", (8, 8), "gray")
BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_gives_the_caption_and_its_title_and_keywords(form):
    xmp = xmp_of(description={"de": "ein Reiher", "x-default": "a heron"}, title={"x-default": "Ardea"},
                 subject=["bird", "water"])  # fmt: skip
    picture = in_jpeg(xmp=xmp) if form == "JPEG" else _with_xmp(form, xmp)
    texts = embedded_texts(picture, LIMITS)
    assert texts == Texts(("Ardea",), "a heron", ("bird", "water"))
    assert texts.origin == "XMP"


def _with_xmp(form: str, xmp: bytes) -> bytes:
    if form == "TIFF":
        return encoded(HERON, form, tiffinfo={700: xmp})
    if form == "WEBP":
        return encoded(HERON, form, xmp=xmp)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return encoded(HERON, form, pnginfo=info)


@pytest.mark.parametrize(
    ("charset", "encoding"), [(b"\x1b%G", "utf-8"), (None, "latin-1")], ids=["utf-8", "latin-1"]
)
def test_iptc_gives_caption_and_keywords_in_its_character_set(charset, encoding):
    block = iptc_of("Blässhuhn", ["Vögel", "Teich"], encoding=encoding, charset=charset)
    texts = embedded_texts(in_jpeg(iptc=block), LIMITS)
    assert texts == Texts((), "Blässhuhn", ("Vögel", "Teich"))
    assert texts.origin == "IPTC"


@pytest.mark.parametrize(
    ("xmp", "iptc", "expected", "origin"),
    [
        (xmp_of(description={"x-default": "a heron"}), iptc_of("a stork", ["bird"]),
         Texts((), "a heron", ("bird",)), "XMP"),
        (xmp_of(subject=["bird"]), iptc_of("a stork", []), Texts((), "a stork", ("bird",)), "IPTC"),
        (xmp_of(subject=["bird", "water"]), b"", Texts((), "bird, water"), "XMP"),
        (xmp_of(title={"x-default": "Ardea"}), b"", Texts((), "Ardea"), "XMP"),
    ],
)  # fmt: skip
def test_xmp_comes_before_iptc_and_a_caption_before_a_title_before_keywords(xmp, iptc, expected, origin):
    texts = embedded_texts(in_jpeg(xmp=xmp, iptc=iptc), LIMITS)
    assert texts == expected
    assert texts.origin == origin


@pytest.mark.parametrize("picture", [in_jpeg(), in_jpeg(xmp=xmp_of(description={"x-default": " "}))])
def test_a_picture_without_a_caption_has_none(picture):
    assert embedded_texts(picture, LIMITS) is None


@pytest.mark.parametrize(
    ("xmp", "iptc", "message"),
    [
        (BOMB.encode() + xmp_of(description={"x-default": "&j;"}), b"", "declares a document type"),
        (b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:/etc/passwd">]><x>&f;</x>', b"", "declares a document type"),
        (b"<x:xmpmeta><rdf:RDF>", b"", "its XMP cannot be read"),
        (xmp_of(description={"x-default": "a heron"})[:-30], b"", "its XMP cannot be read"),
        (b"\xff\xfe\x00garbage", b"", "its XMP cannot be read"),
        (b"<a>" * 10_000, b"", "its XMP cannot be read"),
        (b"", iptc_of("a heron", [])[:-3], "its IPTC is cut off"),
        (b"", b"\x1c\x02\x78\xff\xff\x00", "its IPTC is damaged"),
        (b"", iptc_of("Blässhuhn", [], encoding="latin-1", charset=b"\x1b%G"), "its IPTC says"),
        (b"", iptc_of("ÿ" * 30_000, [], encoding="latin-1", charset=None) * 2, "its caption in IPTC has"),
    ],
)  # fmt: skip
def test_hostile_metadata_is_named(xmp, iptc, message):
    with pytest.raises(ValueError, match=message):
        embedded_texts(in_jpeg(xmp=xmp, iptc=iptc), LIMITS)


def test_huge_xmp_is_refused_before_it_is_parsed():
    xmp = xmp_of(description={"x-default": "a" * 1_000_000})
    with pytest.raises(ValueError, match=r"its XMP has 1000[0-9]+ bytes, limit is 1000000"):
        embedded_texts(encoded(HERON, "TIFF", tiffinfo={700: xmp}), LIMITS)
