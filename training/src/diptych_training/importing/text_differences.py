"""Where a bundle's tokenizer and the original library part, measured; knows no library by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import ImportFailed
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.proof.texts import AwkwardText
from diptych_training.importing.common.imported_model import LibraryPath

MAX_TEXT, MAX_IDS = 48, 16  # of what is shown


@dataclass(frozen=True)
class TextDifference:
    """One text that becomes other ids in the bundle than in the library."""

    kind: str
    text: str
    ours: list[int]
    theirs: list[int] | None  # None: the library fails on it


@dataclass(frozen=True)
class TextDifferences:
    """`equal`: the awkward texts that both turn into the same ids; `differing`: the others."""

    equal: tuple[str, ...]
    differing: tuple[TextDifference, ...]

    def stated(self) -> dict[str, JsonValue]:
        """As the manifest holds it; long texts and ids are cut."""
        rows: list[JsonValue] = [
            {
                "kind": d.kind,
                "text": shown(d.text),
                "ours": [*d.ours[:MAX_IDS]],
                "theirs": None if d.theirs is None else [*d.theirs[:MAX_IDS]],
            }
            for d in self.differing
        ]
        n_texts = len(self.equal) + len(self.differing)
        return {"n_texts": n_texts, "n_equal": len(self.equal), "differing": rows}

    def table(self) -> str:
        """Markdown: one row for each text that differs."""
        rows = [
            [d.kind, _cell(shown(d.text)), _cell(_ids(d.ours)), _cell(_ids(d.theirs))] for d in self.differing
        ]
        return markdown_table(["kind", "text", "ids here", "ids in the library"], rows)


def require_equal_ids(texts: Sequence[str], tokenizer: TextTokenizer, library: LibraryPath) -> None:
    """Raises ImportFailed naming the first text whose ids differ: the tokenizer was then read wrongly."""
    for text in texts:
        difference = _compare("ordinary", text, tokenizer, library)
        if difference is not None:
            raise ImportFailed(
                f"the tokenizer was not read as its library reads it: {text!r} becomes "
                f"{_ids(difference.ours)}, in the library {_ids(difference.theirs)}"
            )


def measure_differences(
    texts: Sequence[AwkwardText], tokenizer: TextTokenizer, library: LibraryPath
) -> TextDifferences:
    """Compare the ids of every awkward text."""
    found = [_compare(awkward.kind, awkward.text, tokenizer, library) for awkward in texts]
    pairs = list(zip(texts, found, strict=True))
    return TextDifferences(
        equal=tuple(awkward.text for awkward, difference in pairs if difference is None),
        differing=tuple(difference for difference in found if difference is not None),
    )


def _compare(kind: str, text: str, tokenizer: TextTokenizer, library: LibraryPath) -> TextDifference | None:
    ours, theirs = tokenizer.ids(text)[0].tolist(), _library_ids(text, library)
    return None if ours == theirs else TextDifference(kind, text, ours, theirs)


def _library_ids(text: str, library: LibraryPath) -> list[int] | None:
    try:
        return list(library.input_ids(text))
    except Exception:  # tokenizers raise many kinds, down to bare Exception
        return None


def shown(text: str) -> str:
    """In ASCII, so that what cannot be seen can be read; cut."""
    escaped = ascii(text)[1:-1]
    return escaped if len(escaped) <= MAX_TEXT else f"{escaped[:MAX_TEXT]}..."


def _ids(ids: Sequence[int] | None) -> str:
    if ids is None:
        return "none: it fails"
    return " ".join(map(str, ids[:MAX_IDS])) + (" ..." if len(ids) > MAX_IDS else "")


def _cell(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if text.strip() and "`" not in text else escaped or "(empty)"
