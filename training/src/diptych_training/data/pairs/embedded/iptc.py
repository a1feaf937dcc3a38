"""Read caption and keywords from the IPTC-IIM block of a picture: data sets of a record, number and size."""

from collections.abc import Iterator

from diptych_training.data.pairs.embedded.written import Written

MARKER = 0x1C
CHARSET, KEYWORD, CAPTION = (1, 90), (2, 25), (2, 120)
UTF_8 = b"\x1b%G"  # as the escape sequence of ISO 2022
LONG = 0x8000  # sizes from here on state how many bytes the size has


def read_iptc(block: bytes) -> Written:
    """Read 2:120 and 2:25, in UTF-8 if 1:90 says so, else in Latin-1. ValueError for a damaged block."""
    charset, captions, keywords = "latin-1", [], []
    for number, value in _data_sets(block):
        if number == CHARSET:
            charset = "utf-8" if value == UTF_8 else "latin-1"
        elif number == CAPTION:
            captions.append(value)
        elif number == KEYWORD:
            keywords.append(value)
    caption = b" ".join(captions)
    return Written(_decoded(caption, charset), "", tuple(_decoded(one, charset) for one in keywords))


def _data_sets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at < len(block) and block[at] == MARKER:  # padding may follow
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        if len(block) < at + 5 or size >= LONG:
            raise ValueError(f"its IPTC is damaged at byte {at}: a data set of {size} bytes")
        value = block[at + 5 : at + 5 + size]
        if len(value) < size:
            raise ValueError(f"its IPTC is cut off at byte {at}: {len(value)} of {size} bytes are there")
        yield (block[at + 1], block[at + 2]), value
        at += 5 + size


def _decoded(value: bytes, charset: str) -> str:
    try:
        return value.decode(charset).replace("\0", " ").strip()
    except UnicodeDecodeError:
        raise ValueError(f"its IPTC says that it is UTF-8, which {value[:40]!r} is not") from None
