"""Send a tar archive of images to the server and follow its job."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from diptych.cli.output.console import err, out
from diptych.cli.output.outcome_summary import (
    counts_line,
    note_metadata_differs,
    print_json_summary,
    show_failures,
)
from diptych_client import Client, Job, JobOutcome


def add_archive(client: Client, file: Path, collection: str, *, replace: bool, as_json: bool) -> int:
    """Add an archive and return the exit status: 0 if no image failed. Raises as `Client.add_tar`."""
    job = client.add_tar(file, collection=collection, replace=replace)
    if not as_json:
        err(f"job {job.id}: the server has {job.n_items} images and adds them even if this command ends")
    return follow(client, job, as_json=as_json)


def follow(client: Client, job: Job, *, as_json: bool) -> int:
    """Wait for the end of a job, with a progress bar, and print a summary. Interrupts do not stop the job."""
    outcomes: list[JobOutcome] = []
    ended = job
    try:
        with tqdm(total=job.n_items, unit="image", disable=True if as_json else None) as progress:

            def done(outcome: JobOutcome) -> None:
                outcomes.append(outcome)
                progress.update()

            ended = client.follow_job(job.id, on_outcome=done)
    finally:
        _report(ended, outcomes, as_json=as_json)
    return 0 if ended.state == "done" and not ended.counts.get("failed") else 1


def _report(job: Job, outcomes: Sequence[JobOutcome], *, as_json: bool) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    failed = [(_name(one), str(one.error)) for one in outcomes if one.status == "failed"]
    n_left = job.n_items - len(outcomes)
    n_differ = sum(outcome.metadata_differs for outcome in outcomes)
    if as_json:
        failures = [{"file": name, "error": error} for name, error in failed]
        about: dict[str, object] = {"collection": job.collection, "job": job.id, "state": job.state}
        about |= {"reason": job.reason, "metadata_differs": n_differ}
        print_json_summary(counts, about, n_left, failures)
        return
    show_failures(failed)
    if not job.has_ended:
        err(f"the job is still running: `diptych jobs follow {job.id}`, or `cancel` to end it")
    elif job.reason:
        err(f"the job failed: {job.reason}")
    out(f"{job.collection}: {counts_line(counts, n_left)}")
    note_metadata_differs(n_differ, "image")


def _name(outcome: JobOutcome) -> str:
    return outcome.file or f"image {outcome.index}"
