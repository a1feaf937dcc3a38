"""Read caption, title, keywords and rating from XMP, in a picture or beside it: XML from an unknown hand."""

from dataclasses import dataclass
from xml.parsers import expat

MAX_XMP_BYTES = 1_000_000
_DC = "http://purl.org/dc/elements/1.1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ITEM, _LANGUAGE = f"{_RDF} li", "http://www.w3.org/XML/1998/namespace lang"
_DESCRIPTION, _TITLE, _SUBJECT = (f"{_DC} {name}" for name in ("description", "title", "subject"))
_RATING = "http://ns.adobe.com/xap/1.0/ Rating"
_RATINGS = range(-1, 6)  # -1: rejected, 0: not rated
_DEFAULT = "x-default"  # of several languages
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")


@dataclass(frozen=True)
class Xmp:
    """What people wrote about a picture; empty or None where they wrote nothing. `rating`: 1 to 5 stars, or
    -1 for a picture that is rejected.
    """

    caption: str = ""
    title: str = ""
    keywords: tuple[str, ...] = ()
    rating: int | None = None


def read_xmp(packet: bytes) -> Xmp:
    """Read dc:description, dc:title, dc:subject and xmp:Rating. ValueError for XML that is malformed, too
    large, or has a document type, which XMP has not: without one there are no entities.
    """
    if not packet:
        return Xmp()
    if len(packet) > MAX_XMP_BYTES:
        raise ValueError(f"its XMP has {len(packet)} bytes, limit is {MAX_XMP_BYTES}")
    found = _Fields()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.add
    try:
        parser.Parse(packet if packet.startswith(_UTF_16) else packet.strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python lacks
        raise ValueError(f"its XMP cannot be read: {error}") from None
    keywords = tuple(text for _, text in found.values[_SUBJECT])
    return Xmp(found.one(_DESCRIPTION), found.one(_TITLE), keywords, _rating_of(found.one(_RATING)))


def _rating_of(text: str) -> int | None:
    """The stars that a text names; None for no rating, and for what is none."""
    try:
        stars = int(float(text))
    except (ValueError, OverflowError):
        return None
    return stars if stars in _RATINGS and stars != 0 else None


def _refuse(name: str, *_: object) -> None:
    raise ValueError(f"its XMP declares a document type ({name:.40}), which XMP must not")


class _Fields:
    """The values of the properties, each with its language; empty without one."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[str, str]]] = {
            name: [] for name in (_DESCRIPTION, _TITLE, _SUBJECT, _RATING)
        }
        self._property: str | None = None  # in which the parser is
        self._language = ""
        self._parts: list[str] = []

    def one(self, name: str) -> str:
        """The value of the default language, or else the first; empty without one."""
        values = self.values[name]
        return next(
            (text for language, text in values if language == _DEFAULT), values[0][1] if values else ""
        )

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Begin a property or one of its values."""
        for known in self.values.keys() & attributes.keys():  # short form of a single value
            self.values[known].append(("", attributes[known].strip()))
        if name in self.values:
            self._property = name
        if name in (self._property, _ITEM):
            self._language, self._parts = attributes.get(_LANGUAGE, ""), []

    def end(self, name: str) -> None:
        """End a property or one of its values."""
        text = "".join(self._parts).strip()
        if self._property is not None and name in (self._property, _ITEM) and text:
            self.values[self._property].append((self._language, text))
        self._parts = []
        if name == self._property:
            self._property = None

    def add(self, text: str) -> None:
        """Add to the value that the parser is in."""
        if self._property is not None:
            self._parts.append(text)
