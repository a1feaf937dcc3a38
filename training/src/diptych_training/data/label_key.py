"""Captions that differ in articles, case or punctuation only are one label."""

import re

# A sign before a digit stays: "-5" is not "5", nor "1.5" the same as "15".
_APOSTROPHES = re.compile(r"['’‘](?!\d)")
_PUNCTUATION = re.compile(r'[-‐‑‒–—_.,;:!?…"“”„«»()\[\]{}¡¿。、，！？：；「」](?!\d)')
_ARTICLES = re.compile(r"(?<!\S)(?:a|an|the) (?=\S)")  # English ones; "vitamin a" keeps its last word


def label_key(caption: str) -> str:
    """Return what is equal for captions of one label, which differ in articles, case or punctuation only."""
    folded = " ".join(caption.casefold().split())
    words = " ".join(_PUNCTUATION.sub(" ", _APOSTROPHES.sub("", folded)).split())
    return _ARTICLES.sub("", words) or folded
