"""What a program wrote about a picture, and how that becomes its texts."""

from dataclasses import dataclass

from diptych_training.data.pairs.pair import (
    MAX_TEXT_BYTES,
    Origin,
    Texts,
    is_blank,
    require_max_bytes,
    texts_of,
)

MAX_KEYWORDS = 100  # the first ones


@dataclass(frozen=True)
class Written:
    """Caption, title and keywords of one block; empty where it has none."""

    caption: str = ""
    title: str = ""
    keywords: tuple[str, ...] = ()


def texts_of_blocks(xmp: Written, iptc: Written) -> Texts | None:
    """The caption, or else the title, or else the keywords, joined; None without any.

    Keywords follow a caption, and a title is a further one. Each comes from XMP if it has it, else from IPTC.
    ValueError for one of more than MAX_TEXT_BYTES.
    """
    caption, title = xmp.caption or iptc.caption, xmp.title or iptc.title
    keywords = [word for word in xmp.keywords or iptc.keywords if not is_blank(word)][:MAX_KEYWORDS]
    whole = [text for text in dict.fromkeys((caption, title)) if not is_blank(text)]
    if not whole and keywords:
        whole, keywords = [", ".join(keywords)], []
    if not whole:
        return None
    label, *further = whole
    origin: Origin = "XMP" if label in (xmp.caption, xmp.title) or (not caption and xmp.keywords) else "IPTC"
    for text in (*whole, *keywords):
        require_max_bytes(f"its caption in {origin}", len(text.encode("utf-8", "replace")), MAX_TEXT_BYTES)
    return texts_of(further, label, keywords, origin=origin)
