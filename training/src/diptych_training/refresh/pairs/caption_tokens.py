"""Tokenise captions as the model does, but to their full length."""

from dataclasses import dataclass

from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import clean


@dataclass(frozen=True)
class EncodedCaption:
    """The ids of a caption without start and end, its size in bytes without spaces, and its pieces.

    `pieces` are the parts of the cleaned text that tokens stand for; a part of several tokens occurs once.
    """

    ids: tuple[int, ...]
    n_bytes: int
    pieces: tuple[str, ...]


class CaptionTokens:
    """Encodes captions with a model's tokenizer, each text once."""

    def __init__(self, tokenizer: Tokenizer, spec: TextSpec) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())  # a copy: its settings are changed
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._spec = spec
        self._known: dict[str, EncodedCaption] = {}
        self.max_tokens = spec.context_length - len(self._tokenizer.encode("").ids)

    def __call__(self, text: str) -> EncodedCaption:
        """Encode a caption. Raises ValueError if it is not valid Unicode."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._encode(text)
        return found

    def _encode(self, text: str) -> EncodedCaption:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("its caption is not valid Unicode") from None
        cleaned = clean(text, self._spec.clean)
        encoding = self._tokenizer.encode(cleaned)
        own = [index for index, is_special in enumerate(encoding.special_tokens_mask) if not is_special]
        spans = dict.fromkeys(encoding.offsets[index] for index in own)
        return EncodedCaption(
            ids=tuple(encoding.ids[index] for index in own),
            n_bytes=len("".join(cleaned.split()).encode()),
            pieces=tuple(cleaned[start:end].strip() for start, end in spans),
        )
