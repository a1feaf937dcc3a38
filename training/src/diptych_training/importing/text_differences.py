"""Compare the token ids of a bundle's tokenizer with those of the original library."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import ImportFailed
from diptych_training.evaluate.proof_set.photos import AwkwardText
from diptych_training.importing.common.imported_model import LibraryEncoder
from diptych_training.reports.markdown import markdown_table

MAX_CHARACTERS, MAX_IDS = 48, 16  # of a text and its ids in tables and messages


@dataclass(frozen=True)
class TextDifference:
    """A text with other token ids in the bundle than in the library."""

    kind: str
    text: str
    ours: list[int]
    theirs: list[int] | None  # None: the library fails on it


@dataclass(frozen=True)
class TextDifferences:
    """`equal`: the awkward texts with the same token ids in both; `differing`: the others."""

    equal: tuple[str, ...]
    differing: tuple[TextDifference, ...]

    def stated(self) -> dict[str, JsonValue]:
        """The manifest's entry; long texts and ids are truncated."""
        rows: list[JsonValue] = [
            {
                "kind": d.kind,
                "text": printable(d.text),
                "ours": [*d.ours[:MAX_IDS]],
                "theirs": None if d.theirs is None else [*d.theirs[:MAX_IDS]],
            }
            for d in self.differing
        ]
        n_texts = len(self.equal) + len(self.differing)
        return {"n_texts": n_texts, "n_equal": len(self.equal), "differing": rows}

    def table(self) -> str:
        """Markdown table with a row for each text that differs."""
        rows = [
            [d.kind, _table_cell(printable(d.text)), _table_cell(_ids(d.ours)), _table_cell(_ids(d.theirs))]
            for d in self.differing
        ]
        return markdown_table(["kind", "text", "ids here", "ids in the library"], rows, n_words=4)


def require_equal_ids(texts: Sequence[str], tokenizer: TextTokenizer, library: LibraryEncoder) -> None:
    """Raise ImportFailed naming the first text whose ids differ: the tokenizer was read incorrectly."""
    for text in texts:
        difference = _compare("ordinary", text, tokenizer, library)
        if difference is not None:
            raise ImportFailed(
                f"the tokenizer does not match its library: {text!r} becomes {_ids(difference.ours)}, "
                f"in the library {_ids(difference.theirs)}"
            )


def measure_differences(
    texts: Sequence[AwkwardText], tokenizer: TextTokenizer, library: LibraryEncoder
) -> TextDifferences:
    """Compare the ids of every awkward text."""
    found = [_compare(awkward.kind, awkward.text, tokenizer, library) for awkward in texts]
    pairs = list(zip(texts, found, strict=True))
    return TextDifferences(
        equal=tuple(awkward.text for awkward, difference in pairs if difference is None),
        differing=tuple(difference for difference in found if difference is not None),
    )


def _compare(
    kind: str, text: str, tokenizer: TextTokenizer, library: LibraryEncoder
) -> TextDifference | None:
    ours, theirs = tokenizer.ids(text)[0].tolist(), _library_ids(text, library)
    return None if ours == theirs else TextDifference(kind, text, ours, theirs)


def _library_ids(text: str, library: LibraryEncoder) -> list[int] | None:
    try:
        return list(library.input_ids(text))
    except Exception:  # tokenizers raise many kinds, down to bare Exception
        return None


def printable(text: str) -> str:
    """The text in ASCII, so that invisible characters can be read; truncated."""
    escaped = ascii(text)[1:-1]
    return escaped if len(escaped) <= MAX_CHARACTERS else f"{escaped[:MAX_CHARACTERS]}..."


def _ids(ids: Sequence[int] | None) -> str:
    if ids is None:
        return "none: it fails"
    return " ".join(map(str, ids[:MAX_IDS])) + (" ..." if len(ids) > MAX_IDS else "")


def _table_cell(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if text.strip() and "`" not in text else escaped or "(empty)"
