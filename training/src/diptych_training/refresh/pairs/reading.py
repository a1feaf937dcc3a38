"""Findings about reading: pairs that were left out, cannot be used, or show the same picture."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych_training.data.pairs.pair import NAMES_IGNORED, NO_CAPTION, NO_TEXT_FILE, Unusable
from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.sources.find import ROW_ENDINGS
from diptych_training.refresh.pairs.findings import Finding, first_examples, shortened
from diptych_training.refresh.pairs.gather import Gathered, Listed
from diptych_training.reports.text import one_line

MAX_REASONS = 6
MAX_REASON = 300  # characters
OTHER_REASONS = "other reasons"


def reading_findings(listed: Listed, limit: int, gathered: Gathered, sources: Sequence[str]) -> list[Finding]:
    """All findings about reading, the largest group of unusable pairs first."""
    return [*_left_out(listed, limit), *_unusable(gathered.unusable, sources), *_same_pictures(gathered)]


def _left_out(listed: Listed, limit: int) -> list[Finding]:
    findings = []
    if listed.n_excluded:
        findings.append(Finding(kind="excluded", n=listed.n_excluded, what="excluded, as you asked"))
    n_beyond = len(set(listed.names)) - limit
    if n_beyond > 0:
        what = f"beyond the limit of {limit:,}, left out by a hash of their names"
        advice = "A higher limit takes more; for very many pairs, train on streams (docs/training-data.md)."
        findings.append(Finding(kind="limit", n=n_beyond, what=what, advice=advice))
    return findings


def _unusable(unusable: Mapping[str, Sequence[Unusable]], sources: Sequence[str]) -> list[Finding]:
    findings = []
    for reason, entries in _few_reasons(unusable).items():
        examples = first_examples(entry.name for entry in entries)
        if reason == NO_CAPTION or reason.startswith(NO_TEXT_FILE):
            advice = (
                f"Put a text file of the same name next to each (heron.jpg, heron.txt){_tables_in(sources)}."
                f"{_names_ignored(entries[0].reason)}"
            )
            what = "without a caption"
            findings.append(
                Finding(kind="no_caption", n=len(entries), what=what, advice=advice, examples=examples)
            )
        else:
            what = f"unusable ({_why(entries)})"
            advice = "Mend or replace them, or go on without them."
            findings.append(
                Finding(kind="unusable", n=len(entries), what=what, advice=advice, examples=examples)
            )
    return findings


def _names_ignored(reason: str) -> str:
    """The cause and the way out, if names of folders do not count; else empty."""
    stray = reason.partition(NAMES_IGNORED)[2]
    if not stray:
        return ""
    return f" Names of folders are no captions next to text files: remove {stray} if they should be."


def _why(entries: Sequence[Unusable]) -> str:
    """The reason that all entries share, or that of the first, named, where reasons differ."""
    first = entries[0]
    reason = one_line(first.reason, MAX_REASON)
    differ = any(entry.reason != first.reason for entry in entries)
    return f"{shortened(first.name)}: {reason}" if differ else reason


def _few_reasons(unusable: Mapping[str, Sequence[Unusable]]) -> dict[str, list[Unusable]]:
    """Entries by reason, most entries first; rare reasons beyond MAX_REASONS are put together."""
    found: defaultdict[str, list[Unusable]] = defaultdict(list)
    by_number = sorted(unusable.items(), key=lambda one: -len(one[1]))
    for number, (reason, entries) in enumerate(by_number):
        found[reason if number < MAX_REASONS else OTHER_REASONS] += entries
    return dict(found)


def _tables_in(sources: Sequence[str]) -> str:
    """A hint at tables in local folders, which may hold the captions; empty if there are none."""
    folders = [Path(source) for source in sources if is_local(source) and Path(source).is_dir()]
    tables = [
        str(file) for folder in folders for file in sorted(folder.iterdir()) if file.suffix in ROW_ENDINGS
    ]
    return f", or name {tables[0]} in place of the folder if it holds them" if tables else ""


def _same_pictures(gathered: Gathered) -> list[Finding]:
    findings = []
    if gathered.same:
        what = "the same picture and caption as another, left out"
        examples = first_examples(gathered.same)
        advice = "Nothing to do: copies teach nothing."
        findings.append(
            Finding(kind="same_picture", n=len(gathered.same), what=what, advice=advice, examples=examples)
        )
    if gathered.merged:
        what = "the same picture as another with another caption, which becomes a further caption of it"
        examples = first_examples(gathered.merged)
        advice = "Check that both captions are right."
        findings.append(
            Finding(
                kind="merged_captions", n=len(gathered.merged), what=what, advice=advice, examples=examples
            )
        )
    return findings
