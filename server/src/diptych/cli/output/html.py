"""Parts of pages that `diptych` writes: nothing in them can break the page or load anything."""

from base64 import b64encode
from html import escape
from importlib.resources import files
from string import Template

from diptych.cli.output.console import printable


def html_text(text: str) -> str:
    """Return a text as HTML, in attributes too."""
    return escape(printable(text))


def data_uri(picture: bytes) -> str:
    """Return a PNG, WebP or JPEG file as the address of a picture."""
    kind = "png" if picture.startswith(b"\x89PNG") else "webp" if picture[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{b64encode(picture).decode('ascii')}"


def filled_page(template: str, **parts: str) -> str:
    """Fill a template of this package."""
    return Template((files(__package__) / template).read_text(encoding="utf-8")).substitute(parts)
