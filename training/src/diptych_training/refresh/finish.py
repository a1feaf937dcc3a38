"""Push the version that a refresh published to a server that then serves it, or say how to serve it."""

import shlex
from pathlib import Path

from diptych_client import LabelSetReport
from diptych_training.paths import model_repo
from diptych_training.progress import Reporter
from diptych_training.push import environment_key, push_and_report
from diptych_training.refresh.ledger import Published
from diptych_training.refresh.pairs.findings import read_report
from diptych_training.refresh.refresh import Outcome
from diptych_training.refresh.reviewed.server import Address, label_set_report
from diptych_training.refresh.start import Places


def how_to_serve(published: Published, repository: Path) -> str:
    """How a running server comes to serve the version, and the command that starts one."""
    title, activate = f"{published.name}/{published.version}", f"{published.name} {published.version}"
    at = "" if repository == model_repo() else f" --model-repo {shlex.quote(str(repository))}"
    return (
        f"A running server of {published.name} moves to {title} by itself. Any other, or one "
        f"whose policy is not latest: diptych models activate {activate}\n"
        f"To start a server: diptych serve --model {published.name}{at} "
        f"--data-dir ~/.local/state/diptych-{published.name}"
    )


def push_outcome(
    outcome: Outcome, places: Places, url: str, address: Address | None, report: Reporter
) -> None:
    """Push what was published, and say how far the old and the new model agree with people.

    The latter if the pictures are those of a label set (`address`) of this server.
    """
    assert outcome.published is not None
    folder = places.repository.folder(outcome.published.name, outcome.published.version)
    is_labelled = address is not None and address.url == url.rstrip("/")
    before = label_set_report(address, environment_key()) if address is not None and is_labelled else None
    serves = push_and_report(folder, url, _shown_queries(outcome), report)
    if serves and address is not None and before is not None:
        after = label_set_report(address, environment_key())
        report(_agreement(address, before, after, outcome))


def _agreement(address: Address, before: LabelSetReport, after: LabelSetReport, outcome: Outcome) -> str:
    if after.model == before.model:
        return f"\n{address}: its labels are still those of {before.model}"
    pairs = read_report(outcome.folder.pairs)
    learned = "" if pairs is None else f"\n  {after.model} has learned from {pairs.n_train:,} of these"
    return (
        f"\n{address}: the model agrees with what was reviewed\n  before: {_share(before)}\n"
        f"  now:    {_share(after)}{learned}"
    )


def _share(report: LabelSetReport) -> str:
    """How far the model of the server agrees with people."""
    found = report.agreement
    unlabelled = f", {found.n_unlabelled:,} more have no label of the model" if found.n_unlabelled else ""
    if found.interval is None:
        return f"{'on none' if unlabelled else 'no picture is reviewed'}{unlabelled} ({report.model})"
    low, high = found.interval
    share = f"{found.n_agree / found.n:.2f}, 95% {low:.2f} to {high:.2f}"
    return f"on {found.n_agree:,} of {found.n:,} ({share}) by {report.model}{unlabelled}"


def _shown_queries(outcome: Outcome) -> list[str]:
    """The captions that were shown as searches, unless the refresh was finished before."""
    return [] if outcome.measured is None else [one.query for one in outcome.measured.changes.searches]
