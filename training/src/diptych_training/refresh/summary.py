"""Print the summary of a refresh to the terminal: a table, three searches, and what was published."""

from datetime import UTC, datetime

from diptych.bundle.repository import ModelRepository
from diptych_training.progress import Reporter
from diptych_training.refresh.evaluation.evaluate import losses_of
from diptych_training.refresh.ledger import Published, RefreshFolder
from diptych_training.refresh.measure import Measured
from diptych_training.refresh.pairs.findings import PairsReport
from diptych_training.refresh.report.content import Content, changed_names, loss_text
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
) -> Content:
    """Write the report, and show its first lines, its table and three searches; returns its content."""
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
    report("\n".join(["", *content.headline, "", gains_table(measured.evaluation, choice).markdown(), ""]))
    for line in changed_names(content):
        report(line)
    report(f"weight of what was learned: {choice.alpha:g}, {choice.reason}")
    report(other_weights(measured.evaluation, choice))
    among = "your pictures, from which it has learned," if choice.in_folds else "your held-out pictures"
    report(f"\nthree of your captions as searches among {among} and the shipped ones (✓: right):\n")
    report(f"{searches_text(measured.changes.searches)}\n")
    return content


def _about_pairs(options: RefreshOptions, pairs: PairsReport) -> str:
    if options.reviewed is None:
        return pairs.text()
    judged = "Judged among the labels of the set, with its words and templates, as the server scores them."
    return f"{options.reviewed.text}\n{judged}\n{pairs.text()}"


def summary(folder: RefreshFolder, start: Start, published: Published, repository: ModelRepository) -> str:
    """Describe the published version, and name the page.

    Names precisions of the old version that the new one lacks.
    """
    precisions = repository.manifest(published.name, published.version).precisions
    where = repository.folder(published.name, published.version)
    lines = [f"{published.name}/{published.version} is published: {where} ({', '.join(precisions)})"]
    if left_out := [one for one in start.manifest.precisions if one not in precisions]:
        lines.append(f"Left out: {', '.join(left_out)} ({folder.export_log} says why)")
    return "\n".join([*lines, f"What changed, with pictures: {folder.page}"])


def too_much_lost(measured: Measured) -> str:
    """Why nothing is published, and which smaller weight would be within the bound."""
    choice, evaluation = measured.choice, measured.evaluation
    beyond = "; ".join(loss_text(loss, evaluation) for loss in choice.losses if not loss.is_within)
    smaller = "more old pairs in every batch (--set data.rehearsal.old.share=0.75) or fewer steps lose less"
    for mix in evaluation.mixes:
        losses = losses_of(evaluation, mix.alpha, choice.max_loss)
        if 0 < mix.alpha < choice.alpha and all(loss.is_within for loss in losses):
            most = max(loss.points for loss in losses)
            smaller = f"--alpha {mix.alpha:g} loses at most {most:.1f}, without training again"
    return f"{beyond}; at most {choice.max_loss:g} may be lost (--max-loss). Nothing is published: {smaller}"
