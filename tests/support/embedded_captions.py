"""Pictures with captions inside them, as programs write these; knows nothing of how they are read.

in_jpeg(xmp=xmp_of(description={"x-default": "a heron"}), iptc=iptc_of("a heron", ["bird"]))
"""

from collections.abc import Mapping, Sequence

from support.pictures import picture

XMP_START = b"http://ns.adobe.com/xap/1.0/\0"


def xmp_of(
    description: Mapping[str, str] = {},
    title: Mapping[str, str] = {},
    subject: Sequence[str] = (),
    rating: object = None,
) -> bytes:
    """A packet of XMP; description and title by their languages."""
    stars = "" if rating is None else f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{rating}"'
    words = "".join(f"<rdf:li>{word}</rdf:li>" for word in subject)
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"{stars}>{_by_language("description", description)}'
        f"{_by_language('title', title)}<dc:subject><rdf:Bag>{words}</rdf:Bag></dc:subject>"
        '</rdf:Description></rdf:RDF></x:xmpmeta>\n\n<?xpacket end="w"?>'
    ).encode()


def _by_language(name: str, texts: Mapping[str, str]) -> str:
    items = "".join(f'<rdf:li xml:lang="{language}">{text}</rdf:li>' for language, text in texts.items())
    return f"<dc:{name}><rdf:Alt>{items}</rdf:Alt></dc:{name}>"


def iptc_of(
    caption: str, keywords: Sequence[str], encoding: str = "utf-8", charset: bytes | None = b"\x1b%G"
) -> bytes:
    """An IPTC block; `charset` is its CodedCharacterSet."""
    sets = [(1, 90, charset), (2, 120, caption.encode(encoding))]
    sets += [(2, 25, word.encode(encoding)) for word in keywords]
    return b"".join(
        bytes((0x1C, record, number)) + len(value).to_bytes(2, "big") + value
        for record, number, value in sets
        if value
    )


def in_jpeg(xmp: bytes = b"", iptc: bytes = b"", colour: str | tuple[int, int, int] = "red") -> bytes:
    """A JPEG of one colour with these blocks."""
    segments = b""
    if xmp:
        segments += _segment(0xE1, XMP_START + xmp)
    if iptc:
        resource = b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
        segments += _segment(0xED, b"Photoshop 3.0\0" + resource)
    plain = picture(colour, form="JPEG")
    return plain[:2] + segments + plain[2:]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
