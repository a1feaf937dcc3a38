"""Look at a person's pairs, report what was found, and pack the usable ones for a model."""

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.data.packed import INDEX_FILE, PackedDataset
from diptych_training.data.pairs.excluded import require_matching_sources
from diptych_training.data.pairs.packing import UNKNOWN
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.tools.flags import ReadingOptions, SourceFlags
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.files import exclusive_lock
from diptych_training.importing.source_model import SourceModel
from diptych_training.refresh.evaluation.results import MIN_OWN_PAIRS
from diptych_training.refresh.pairs.captions import CaptionTokens, caption_findings
from diptych_training.refresh.pairs.findings import (
    REPORT_FILE,
    Finding,
    PairsReport,
    read_report,
    summary_line,
    write_report,
)
from diptych_training.refresh.pairs.gather import Gathered, gather, list_entries, printable
from diptych_training.refresh.pairs.hold_out import choose_folds, choose_held_out, names_in_sources
from diptych_training.refresh.pairs.inputs import inputs_digest
from diptych_training.refresh.pairs.near import (
    near_groups,
    near_own_findings,
    near_shipped,
    near_shipped_findings,
    picture_rows,
)
from diptych_training.refresh.pairs.own import OWN, SHEET_FILE, write_contact_sheet, write_own
from diptych_training.refresh.pairs.reading import reading_findings
from diptych_training.reports.text import counted

LOCK_FILE = ".pairs.lock"
MIN_PAIRS = 20


@dataclass(frozen=True)
class PairsOptions:
    """Options: which pairs are read, and how many of the usable ones are held out.

    `hold_out` is their share; of few pairs, each is held out in a fold unless it is 0. With more than `limit`
    pairs, `seed` decides which are read. `licence` and `author` are those of the pictures, for the data card.
    """

    hold_out: float = 0.2
    limit: int = 5_000
    seed: int = 0
    licence: str = UNKNOWN
    author: str = UNKNOWN
    reading: ReadingOptions = field(default_factory=ReadingOptions)


def prepare_pairs(
    sources: Sequence[str],
    model: SourceModel,
    folder: Path,
    options: PairsOptions,
    shipped: PackedDataset | None = None,
) -> PairsReport:
    """Read pairs, and write `own/`, REPORT_FILE and SHEET_FILE into `folder`; returns the report.

    `own/` is a packed data set as the model sees its pictures: split `train`, and split `validation` of
    held-out pairs. Pictures near those of split `validation` of `shipped` are left out. If the folder holds
    the results of the same inputs, they are kept; other results are made again.

    Raises DataError if a source cannot be read, fewer than MIN_PAIRS pairs are usable, or all have one
    caption; TrainingConfigError for options out of range, or a model whose preprocessing is not known.
    """
    if not 0 <= options.hold_out < 1:
        raise TrainingConfigError(f"hold_out is {options.hold_out:g}, must be at least 0 and below 1")
    if options.limit < MIN_PAIRS:
        raise TrainingConfigError(f"limit is {options.limit}, must be at least {MIN_PAIRS}")
    if not {"preprocess", "text"} <= model.tables.keys():
        raise TrainingConfigError(f"{model.title} does not state how images and texts are prepared for it")
    flags, shards = _opened(sources, options)
    with exclusive_lock(folder / LOCK_FILE, DataError(f"another process prepares pairs in {folder}")):
        inputs = _digest(sources, options, flags, shards, model=model, shipped=shipped)
        stored = read_report(folder)
        if stored is not None and stored.inputs == inputs and _is_whole(folder):
            return stored
        (folder / REPORT_FILE).unlink(missing_ok=True)  # before its results: it says that they are whole
        return _Preparation(tuple(sources), model, options, shipped, inputs).run(shards, flags, folder)


def pairs_digest(
    sources: Sequence[str], model: SourceModel, options: PairsOptions, shipped: PackedDataset | None = None
) -> str:
    """sha256 of everything that the results of `prepare_pairs` depend on; files count by size and time.

    Raises DataError if a source cannot be read.
    """
    flags, shards = _opened(sources, options)
    return _digest(sources, options, flags, shards, model=model, shipped=shipped)


def _opened(sources: Sequence[str], options: PairsOptions) -> tuple[SourceFlags, list[Shard]]:
    flags = options.reading.open()
    shards = list(flags.reader.shards(sources))
    require_matching_sources(flags.excluded, shards)
    return flags, shards


def _digest(
    sources: Sequence[str],
    options: PairsOptions,
    flags: SourceFlags,
    shards: Sequence[Shard],
    *,
    model: SourceModel,
    shipped: PackedDataset | None,
) -> str:
    asked = {"sources": [_absolute(source) for source in sources], **asdict(options)}
    return inputs_digest(asked, shards, excluded=flags.excluded, model=model, shipped=shipped)


def _absolute(source: str) -> str:
    """The same path, however it is spelt; a URL or a wildcard as it is."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def _is_whole(folder: Path) -> bool:
    return (folder / OWN / INDEX_FILE).is_file() and (folder / SHEET_FILE).is_file()


@dataclass
class _Preparation:
    """One look at pairs; `findings` grow with each step."""

    sources: tuple[str, ...]
    model: SourceModel
    options: PairsOptions
    shipped: PackedDataset | None
    inputs: str
    findings: list[Finding] = field(default_factory=list)

    def run(self, shards: Sequence[Shard], flags: SourceFlags, folder: Path) -> PairsReport:
        """Read, check, split and write. Raises DataError."""
        tokens = CaptionTokens(self.model.tokenizer, TextSpec.model_validate(self.model.tables["text"]))
        gathered, n_found = self._gather(shards, flags, tokens)
        groups = self._without_near_shipped(gathered)
        n_usable = len(gathered.items)
        if n_usable < MIN_PAIRS:
            raise DataError(self._too_few(n_found, n_usable))
        self.findings += caption_findings(gathered.items, tokens, self.shipped)
        captions = [tokens.of_label(item.label) for item in gathered.items]
        prefixes = (printable(shard.prefix) for shard in shards)
        names = names_in_sources((item.id for item in gathered.items), prefixes)
        held, folds = self._held_out(names, captions, groups)
        self._note_size(n_usable, len(folds) or len(held))
        write_own(folder, gathered, held, folds, licence=self.options.licence, author=self.options.author)
        write_contact_sheet(folder, gathered.images, gathered.items)
        report = PairsReport(
            inputs=self.inputs,
            sources=self.sources,
            image_size=gathered.images.shape[1],
            n_found=n_found,
            n_train=n_usable - len(held),
            n_held_out=len(held),
            n_folds=len(set(folds)),
            n_captions=len(set(captions)),
            origins=dict(Counter(gathered.origins).most_common()),
            findings=tuple(self.findings),
        )
        write_report(folder, report)
        return report

    def _held_out(
        self, names: Sequence[str], captions: Sequence[Hashable], groups: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[int]]:
        """The positions of the held-out pairs; or the fold of each pair, if there are few."""
        if self.options.hold_out and len(names) < MIN_OWN_PAIRS and len(groups) > 1:
            return [], choose_folds(names, captions, groups)
        return choose_held_out(names, captions, groups, self.options.hold_out), []

    def _gather(
        self, shards: Sequence[Shard], flags: SourceFlags, tokens: CaptionTokens
    ) -> tuple[Gathered, int]:
        """The usable pairs, and the number of all entries."""
        listed = list_entries(shards, flags.excluded)
        left_out = listed.left_out(self.options.limit, self.options.seed)
        gathered = gather(
            shards,
            flags.excluded | left_out,
            sum(name not in left_out for name in listed.names),
            spec=ImageSpec.model_validate(self.model.tables["preprocess"]),
            limits=flags.limits,
            tokens=tokens,
            n_threads=os.cpu_count() or 1,
        )
        self.findings += reading_findings(listed, self.options.limit, gathered, self.sources)
        return gathered, listed.n_found

    def _without_near_shipped(self, gathered: Gathered) -> list[list[int]]:
        """Drop pictures near those that models are judged on; returns groups of near ones among the rest."""
        rows = picture_rows(gathered.images)
        if self.shipped is not None and (near := near_shipped(rows, self.shipped)):
            self.findings += near_shipped_findings(near, gathered.items)
            kept = [index for index in range(len(gathered.items)) if index not in near]
            gathered.keep(kept)
            rows = rows[kept]
        groups = near_groups(rows)
        self.findings += near_own_findings(groups, gathered.items)
        return groups

    def _too_few(self, n_found: int, n_usable: int) -> str:
        lost = [one for one in self.findings if one.kind not in ("limit", "near_own", "merged_captions")]
        why = f": {summary_line(lost)}" if lost else "."
        return (
            f"{', '.join(self.sources)}: {counted(n_usable, 'usable pair')}, at least {MIN_PAIRS} are "
            f"needed; {n_found:,} found{why} Add pictures with captions until {MIN_PAIRS} are usable."
        )

    def _note_size(self, n_usable: int, n_held_out: int) -> None:
        """Findings on what these numbers allow."""
        if self.options.hold_out and not n_held_out:
            what = "held out, since all pictures are nearly the same"
            advice = "What the model learns is not measured on them: add pictures that differ."
            self.findings.append(Finding(kind="not_held_out", n=0, what=what, advice=advice))
        elif self.options.hold_out and n_usable < MIN_OWN_PAIRS:
            what = "usable pairs are too few to hold some out: each is held out once, in five folds"
            advice = (
                f"The published model learns from all. From {MIN_OWN_PAIRS} pairs on, a fifth is held out."
            )
            self.findings.append(Finding(kind="few", n=n_usable, what=what, advice=advice))
