"""`diptych jobs`: list, show, follow and cancel jobs, which add many images."""

import argparse
from dataclasses import asdict
from typing import Any

from diptych.cli.arguments import add_server_arguments
from diptych.cli.output.console import Align, out, out_json, out_table
from diptych.cli.output.outcome_summary import STATUSES
from diptych.cli.remote import run_with_client
from diptych.cli.transfer.archives import follow
from diptych_client import Client, Job


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command and of its verbs."""
    parser = subparsers.add_parser(
        "jobs",
        help="list, show, follow and cancel jobs",
        description="List, show, follow and cancel jobs. A job adds an archive or a long list of images, "
        "which the server processes in the background.",
    )
    verbs = parser.add_subparsers(required=True, metavar="list|show|follow|cancel")
    for name, action, about in (
        ("list", _list, "list all jobs of the server, newest first"),
        ("show", _show, "show the progress of a job"),
        ("follow", _follow, "wait for the end of a job, and print what failed"),
        ("cancel", _cancel, "cancel a job: finished images stay, the others are not added"),
    ):
        verb = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
        if action is not _list:
            verb.add_argument("id", metavar="ID", help="the job")
        add_server_arguments(verb)
        verb.set_defaults(run=run, action=action)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, args.action)


def _list(args: argparse.Namespace, client: Client) -> int:
    found = client.jobs()
    if args.json:
        out_json([asdict(job) for job in found])
    else:
        header = ["id", "collection", "state", "done", "failed", "created"]
        align: list[Align] = ["left", "left", "left", "right", "right", "left"]
        out_table(header, [_row(job) for job in found], align)
    return 0


def _row(job: Job) -> list[str]:
    done = f"{job.n_done} of {job.n_items}"
    return [job.id, job.collection, job.state, done, str(job.counts.get("failed", 0)), job.created_at]


def _show(args: argparse.Namespace, client: Client) -> int:
    return _out(args, client.job(args.id))


def _cancel(args: argparse.Namespace, client: Client) -> int:
    return _out(args, client.cancel_job(args.id))


def _out(args: argparse.Namespace, job: Job) -> int:
    if args.json:
        out_json(asdict(job))
        return 0
    counts = ", ".join(f"{job.counts.get(status, 0)} {status}" for status in STATUSES)
    out(f"{job.collection}: {job.state}, {job.n_done} of {job.n_items} done: {counts}")
    if job.reason:
        out(job.reason)
    return 0


def _follow(args: argparse.Namespace, client: Client) -> int:
    return follow(client, client.job(args.id), as_json=args.json)
