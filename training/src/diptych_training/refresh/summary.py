"""Print the summary of a refresh to the terminal: a table, three searches, and what was published."""

from collections.abc import Sequence
from datetime import UTC, datetime

from diptych.bundle.repository import ModelRepository
from diptych_training.progress import Reporter
from diptych_training.refresh.evaluation.results import POINTS
from diptych_training.refresh.ledger import Published, RefreshFolder
from diptych_training.refresh.measure import Measured
from diptych_training.refresh.pairs.findings import PairsReport
from diptych_training.refresh.report.content import Content, changed_names
from diptych_training.refresh.report.report import gains_table, other_weights, searches_text, write_report
from diptych_training.refresh.reviewed.download import image_id
from diptych_training.refresh.start import RefreshOptions, Start


def report_gains(
    options: RefreshOptions,
    folder: RefreshFolder,
    start: Start,
    *,
    pairs: PairsReport,
    measured: Measured,
    report: Reporter,
) -> None:
    """Write the report, and show its table and three searches."""
    gained, lost = measured.gained_and_lost
    if options.reviewed is not None:
        gained, lost = list(map(image_id, gained)), list(map(image_id, lost))
    content = Content(
        name=options.name,
        old_name=start.title,
        day=datetime.now(UTC).date(),
        evaluation=measured.evaluation,
        choice=measured.choice,
        changes=measured.changes,
        own=measured.own,
        shipped=measured.shipped,
        gained=gained,
        lost=lost,
        pairs=_about_pairs(options, pairs),
        recipe=folder.recipe_file.read_text(encoding="utf-8"),
    )
    write_report(folder.path, content)
    choice = measured.choice
    report(f"\n{gains_table(measured.evaluation, choice.alpha).markdown()}\n")
    for line in changed_names(content):
        report(line)
    report(f"weight of what was learned: {choice.alpha:g}, {choice.reason}")
    report(other_weights(measured.evaluation, choice.alpha))
    report("\nthree of your captions as searches among your pictures and the shipped ones (✓: right):\n")
    report(f"{searches_text(measured.changes.searches)}\n")


def _about_pairs(options: RefreshOptions, pairs: PairsReport) -> str:
    if options.reviewed is None:
        return pairs.text()
    judged = "Judged among the labels of the set, with its words and templates, as the server scores them."
    return f"{options.reviewed.text}\n{judged}\n{pairs.text()}"


def summary(
    folder: RefreshFolder,
    start: Start,
    published: Published,
    repository: ModelRepository,
    gains: Sequence[str] = (),
) -> str:
    """Describe the published version, the gains and losses (`gains`, sentences), and the path of the page.

    Names precisions of the old version that the new one lacks.
    """
    precisions = repository.manifest(published.name, published.version).precisions
    where = repository.folder(published.name, published.version)
    lines = [f"{published.name}/{published.version} is published: {where} ({', '.join(precisions)})"]
    if left_out := [one for one in start.manifest.precisions if one not in precisions]:
        lines.append(f"Left out: {', '.join(left_out)} ({folder.export_log} says why)")
    return "\n".join([*lines, *gains, f"What changed, with pictures: {folder.page}"])


def too_much_lost(measured: Measured) -> str:
    """Why nothing is published, and which smaller weight would be within the bound."""
    choice, evaluation = measured.choice, measured.evaluation
    new = evaluation.at(choice.alpha).shipped.top(1)
    within = [
        mix.alpha
        for mix in evaluation.mixes
        if 0 < mix.alpha < choice.alpha and evaluation.loss_points(mix.alpha) <= choice.max_loss
    ]
    smaller = (
        f"--alpha {max(within):g} loses {evaluation.loss_points(max(within)):.1f}, without training again"
        if within
        else "more old pairs in every batch (--set data.rehearsal.old.share=0.75) or fewer steps lose less"
    )
    return (
        f"top-1 on the shipped set falls by {choice.loss:.1f} to {POINTS * new:.1f}; "
        f"at most {choice.max_loss:g} may be lost (--max-loss). Nothing is published: {smaller}"
    )
