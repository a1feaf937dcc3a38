"""The report on a user's pairs: counts, and findings with advice, as data and as text."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from diptych_training.data.pairs.pair import Origin
from diptych_training.files import write_text
from diptych_training.reports.text import one_line
from diptych_training.schema import Frozen, find_record

REPORT_FILE = "pairs.json"
WIDTH = 100  # characters of a line of text
MAX_EXAMPLES = 3
MAX_EXAMPLE = 60  # characters of a caption or name

FindingKind = Literal[
    "excluded",
    "limit",
    "no_caption",
    "unusable",
    "same_picture",
    "merged_captions",
    "near_judged",
    "near_own",
    "long_captions",
    "fragmented",
    "shared_captions",
    "not_held_out",
    "few",
]


class Finding(Frozen):
    """A finding about `n` pairs or captions (`what` follows the number), with examples and advice."""

    kind: FindingKind
    n: int
    what: str
    advice: str = ""
    examples: tuple[str, ...] = ()

    def line(self) -> str:
        """The finding on one line, without the advice."""
        n_more = self.n - len(self.examples)
        listed = ", ".join(self.examples) + (f" and {n_more:,} more" if n_more else "")
        return f"{self.n:,} {self.what}" + (f": {listed}" if self.examples else "")


class PairsReport(Frozen):
    """Counts of pairs and distinct captions, and the findings.

    `n_found` counts all entries of the sources but excluded ones; usable pairs are trained on or held out, or
    held out once in each of `n_folds` folds. `origins` counts usable pairs by where their captions come from.
    `inputs` is a sha256 of everything that the report depends on.
    """

    schema_version: Literal[1] = 1
    inputs: str
    sources: tuple[str, ...]
    image_size: int
    n_found: int
    n_train: int
    n_held_out: int
    n_folds: int = 0
    n_captions: int
    origins: dict[Origin, int]
    findings: tuple[Finding, ...]

    @property
    def n_usable(self) -> int:
        """The number of pairs in the packed data set."""
        return self.n_train + self.n_held_out

    def of(self, kind: FindingKind) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def without(self, kind: FindingKind) -> "PairsReport":
        """The report without the findings of one kind."""
        kept = tuple(finding for finding in self.findings if finding.kind != kind)
        return self.model_copy(update={"findings": kept})

    def text(self) -> str:
        """The report for a terminal: a summary, then each finding and what to do about it."""
        held_out = (
            f"each held out in one of {self.n_folds} folds"
            if self.n_folds
            else f"{self.n_held_out:,} held out"
        )
        summary = (
            f"{', '.join(self.sources)}: {self.n_found:,} pairs found, {self.n_usable:,} usable: "
            f"{self.n_train:,} to train on, {held_out}; "
            f"{self.n_captions:,} different {'caption' if self.n_captions == 1 else 'captions'}"
        )
        origins = ", ".join(f"{n:,} from {origin}" for origin, n in self.origins.items())
        lines = [_filled(summary, "", "  "), _filled(f"captions: {origins}", "", "  ")]
        for finding in self.findings:
            lines.append(_filled(finding.line(), "- ", "  "))
            if finding.advice:
                lines.append(_filled(finding.advice, "  ", "  "))
        return "\n".join(lines)


def first_examples(texts: Iterable[str]) -> tuple[str, ...]:
    """The first few texts, shortened."""
    return tuple(shortened(text) for text, _ in zip(texts, range(MAX_EXAMPLES), strict=False))


def shortened(text: str) -> str:
    """A text on one line of at most MAX_EXAMPLE characters, safe for a terminal."""
    return one_line(text, MAX_EXAMPLE)


def quoted(text: str) -> str:
    """A caption in quotation marks, shortened."""
    return f'"{shortened(text)}"'


def write_report(folder: Path, report: PairsReport) -> None:
    """Write REPORT_FILE atomically."""
    write_text(folder / REPORT_FILE, f"{report.model_dump_json(indent=1)}\n")


def read_report(folder: Path) -> PairsReport | None:
    """The report in a folder; None if there is none, or none that this release can read."""
    return find_record(folder / REPORT_FILE, PairsReport)


def _filled(text: str, first: str, others: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary_line(findings: Sequence[Finding]) -> str:
    """Findings and their advice in one line, for an error message."""
    said = "; ".join(finding.line() for finding in findings)
    advice = " ".join(dict.fromkeys(finding.advice for finding in findings if finding.advice))
    return f"{said}. {advice}" if said else ""
