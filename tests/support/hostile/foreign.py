"""Files of unsupported formats, and files of two formats at once."""

import gzip
import io
import struct
import time
import zipfile
from collections.abc import Iterator

from support.hostile.containers import encoded, png_chunk, scene, segment, with_chunks, with_segments
from support.hostile.entry import EITHER, FOREIGN, GOOD, Hostile

LAUGHS = b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><svg>&b;</svg>'


def foreign() -> Iterator[Hostile]:
    """Yield all files of unsupported or ambiguous formats."""
    for name, payload in _foreign().items():
        yield Hostile(name, payload, FOREIGN)
    yield from _polyglots()


def _foreign() -> dict[str, bytes]:
    image = scene()
    forms = {form.lower(): encoded(image, form) for form in ("PPM", "ICO", "TGA", "PCX", "SGI", "EPS")}
    then = time.gmtime(0)
    return {
        "nothing": b"",
        "one byte": b"\xff",
        "zeros": bytes(10_000),
        "ones": b"\xff" * 10_000,
        "text": b"hello, I am a text " * 100,
        "text of a BOM": b"\xef\xbb\xbfhello",
        "html": b"<!doctype html><html><img src=x onerror=alert(1)></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "svg, a billion laughs": LAUGHS,
        "json": b'{"input": []}',
        "script": b"#!/bin/sh\nrm -rf /\n",
        "program": b"\x7fELF\2\1\1" + bytes(100),
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(100),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "jpeg xl": b"\xff\x0a" + bytes(100),
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100),
        "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
        "gzip bomb": gzip.compress(bytes(10_000_000), mtime=0),
        "zip": _zip(),
        "postscript that reads a file": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        "imagemagick commands": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/|ls'\n",
        "pdf": encoded(image, "PDF", creationDate=then, modDate=then),
        **forms,
    }


def _polyglots() -> Iterator[Hostile]:
    jpeg, png, gif = (encoded(scene(), form) for form in ("JPEG", "PNG", "GIF"))
    yield Hostile("jpeg that is a zip", jpeg + _zip(), GOOD)
    yield Hostile("png that is html", png + b"<script>alert(1)</script>", GOOD)
    yield Hostile(
        "png with html in its text",
        with_chunks(png, png_chunk(b"tEXt", b"key\0<script>alert(1)</script>")),
        GOOD,
    )
    yield Hostile("gif that is a script", gif[:6] + b"/*" + gif[8:] + b"*/=1;alert(1)", EITHER)
    yield Hostile("jpeg that is a script", with_segments(jpeg, segment(0xFE, b"*/=1;alert(1)/*")), GOOD)
    yield Hostile("pdf that is a jpeg", b"%PDF-1.7\n" + jpeg, FOREIGN)
    yield Hostile("html that is a png", b"<html>" + png, FOREIGN)
    yield Hostile("jpeg with the start of a png", jpeg[:3] + png, EITHER)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("../../etc/passwd"), bytes(1_000_000), zipfile.ZIP_DEFLATED)
    return out.getvalue()
