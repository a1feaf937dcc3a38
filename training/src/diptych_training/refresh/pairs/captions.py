"""Tokenise captions as the model does, but to their full length."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import clean
from diptych_training.data.label_key import label_key
from diptych_training.data.packed import PackedDataset, PackedItem
from diptych_training.errors import DataError
from diptych_training.refresh.pairs.findings import Finding, quoted, shortened


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

    def of_label(self, text: str) -> tuple[int, ...]:
        """Tokens that are equal for captions of one label: see `label_key`."""
        return self(label_key(text)).ids

    def _encode(self, text: str) -> EncodedCaption:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("its caption is not valid Unicode") from None
        cleaned = clean(text, self._spec.clean)
        encoding = self._tokenizer.encode(cleaned)
        own = [index for index, is_special in enumerate(encoding.special_tokens_mask) if not is_special]
        offsets = encoding.offsets  # a list that each access makes anew
        spans = dict.fromkeys(offsets[index] for index in own)
        return EncodedCaption(
            ids=tuple(encoding.ids[index] for index in own),
            n_bytes=len("".join(cleaned.split()).encode()),
            pieces=tuple(cleaned[start:end].strip() for start, end in spans),
        )


FRAGMENTED_FACTOR = 2.0  # tokens per byte, as a multiple of what familiar captions need
MAX_TOKENS_PER_BYTE = 0.8  # more are fragmented in any case: nearly every byte is a token of its own
MIN_PIECES = 4  # tokens of a caption; shorter ones are abbreviations
N_FAMILIAR = 1_000  # labels that are enough to measure by
ENGLISH = (
    "a dog runs on the beach", "a red car in front of a house", "two people at a wooden table",
    "a cup of coffee and a book", "a black and white photo of a street", "a bird on a branch",
    "the front door of a small shop", "a plate of fresh fruit", "a child with a blue ball",
    "mountains behind a lake in winter",
)  # fmt: skip


def caption_findings(
    items: Sequence[PackedItem], tokens: CaptionTokens, shipped: PackedDataset | None
) -> list[Finding]:
    """Return findings about the captions of usable pairs. Raises DataError if all pairs have the same one."""
    texts = list(dict.fromkeys(text for item in items for text in texts_of_item(item)))
    shared = _shared(items, tokens)
    return [*_too_long(texts, tokens), *_fragmented(texts, tokens, shipped), *shared]


def texts_of_item(item: PackedItem) -> Iterator[str]:
    """The label and the further captions."""
    yield item.label
    yield from item.captions


def count_captions(items: Sequence[PackedItem], tokens: CaptionTokens) -> Counter[tuple[int, ...]]:
    """The number of pictures of each label."""
    return Counter(tokens.of_label(item.label) for item in items)


def _too_long(texts: Sequence[str], tokens: CaptionTokens) -> list[Finding]:
    long = {text: n for text in texts if (n := len(tokens(text).ids)) > tokens.max_tokens}
    if not long:
        return []
    longest = max(long, key=lambda text: long[text])
    what = (
        f"of {len(texts):,} captions cut off: the model reads {tokens.max_tokens} tokens, the longest has "
        f"{long[longest]:,}"
    )
    advice = "Shorten them, or begin with what matters."
    return [Finding(kind="long_captions", n=len(long), what=what, advice=advice, examples=(quoted(longest),))]


def _fragmented(texts: Sequence[str], tokens: CaptionTokens, shipped: PackedDataset | None) -> list[Finding]:
    """Captions of words that the tokenizer does not know: it needs far more tokens than for familiar ones.

    Tokens are counted per byte, so that scripts whose letters carry more are not taken for fragmented.
    """
    usual = _tokens_per_byte([tokens(text) for text in _familiar(shipped)])
    limit = min(FRAGMENTED_FACTOR * usual, MAX_TOKENS_PER_BYTE)
    split = [text for text in texts if _is_split(tokens(text), limit)]
    if not split:
        return []
    worst = max(split, key=lambda text: len(tokens(text).ids) / tokens(text).n_bytes)
    encoded = tokens(worst)
    example = f"{quoted(worst)} becomes {len(encoded.ids)} tokens ({shortened(' '.join(encoded.pieces))})"
    what = (
        f"of {len(texts):,} captions broken into many pieces by the tokenizer, which does not know their "
        "words or their script"
    )
    advice = (
        "The model has to learn these words from your pairs alone: use words that it knows where you can, or "
        "bring many pictures of each."
    )
    return [Finding(kind="fragmented", n=len(split), what=what, advice=advice, examples=(example,))]


def _familiar(shipped: PackedDataset | None) -> Sequence[str]:
    """Captions that the model was trained for: labels of the shipped set, or plain English."""
    if shipped is None:
        return ENGLISH
    labels = sorted({item.label for source in shipped.sources("validation") for item in source.items})
    return labels[:: -(-len(labels) // N_FAMILIAR)] if labels else ENGLISH


def _tokens_per_byte(encoded: Sequence[EncodedCaption]) -> float:
    return sum(len(one.ids) for one in encoded) / max(1, sum(one.n_bytes for one in encoded))


def _is_split(encoded: EncodedCaption, limit: float) -> bool:
    return len(encoded.ids) >= MIN_PIECES and len(encoded.ids) > limit * encoded.n_bytes


def _shared(items: Sequence[PackedItem], tokens: CaptionTokens) -> list[Finding]:
    """Captions of several pictures. DataError if no picture has any other text."""
    counts = count_captions(items, tokens)
    shared = {label: n for label, n in counts.items() if n > 1}
    if not shared:
        return []
    text_of = {tokens.of_label(item.label): item.label for item in reversed(items)}
    if len({tokens.of_label(text) for item in items for text in texts_of_item(item)}) == 1:
        raise DataError(
            f"all {len(items):,} usable pairs have the caption {quoted(items[0].label)}, from which a model "
            "learns nothing: it learns by telling captions apart. Say in each caption what its picture "
            "shows, or add pictures of other things with their captions"
        )
    most = sorted(shared, key=lambda label: -shared[label])
    examples = tuple(f"{quoted(text_of[label])} ({shared[label]:,} pictures)" for label in most[:3])
    what = f"of {len(counts):,} captions shared by several pictures"
    advice = (
        "Pictures of one caption become alike to the model, which learns to tell captions apart; where they "
        "differ, say so in their captions."
    )
    return [Finding(kind="shared_captions", n=len(shared), what=what, advice=advice, examples=examples)]
