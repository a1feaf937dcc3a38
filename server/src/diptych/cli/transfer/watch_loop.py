"""Look at a watched folder again and again, until a signal ends it; wait for a server that is away."""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from diptych.cli.output.console import out, out_json
from diptych.cli.transfer.folder_watch import FolderWatch
from diptych.errors import DiptychError
from diptych_client import ApiError, Client, ClientError, InvalidCall

LASTING = frozenset({400, 401, 403, 422})  # statuses of errors that waiting does not mend

Answer = TypeVar("Answer")


def watch_folder(args: argparse.Namespace, client: Client) -> int:
    """Keep a collection in step with the folder until SIGINT or SIGTERM; return the exit status."""
    (folder,) = args.paths
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watch: FolderWatch | None = None
    try:
        collection = args.collection or _wait_for(client.version, args).default_collection
        watch = FolderWatch(
            client,
            folder,
            collection,
            recursive=args.recursive,
            on_change=lambda change, file, reason: _say(
                args, change, f"{file}: {reason}" if reason else file
            ),
        )
        _wait_for(watch.look, args, on_error=watch.forget)
        n_images = watch.n_images
        _say(args, "watching", f"{folder} for collection {collection}, which has {n_images} of its images")
        while True:
            time.sleep(args.poll_s)
            _look_again(args, watch)
    except KeyboardInterrupt:
        counts = {} if watch is None else watch.counts
        _say(args, "stopped", ", ".join(f"{n} {change}" for change, n in counts.items()) or "nothing changed")
        return 0


def _look_again(args: argparse.Namespace, watch: FolderWatch) -> None:
    before = watch.trouble
    _wait_for(watch.look, args, on_error=watch.forget)
    if watch.trouble not in {"", before}:
        _say(args, "waiting", watch.trouble)


def _wait_for(
    ask: Callable[[], Answer], args: argparse.Namespace, on_error: Callable[[], None] = lambda: None
) -> Answer:
    """Ask until there is an answer. Raises errors that waiting does not mend."""
    reported = ""
    while True:
        try:
            answer = ask()
        except (ClientError, DiptychError) as error:
            if isinstance(error, InvalidCall) or (isinstance(error, ApiError) and error.status in LASTING):
                raise
            on_error()
            if str(error) != reported:
                _say(args, "waiting", str(error))
            reported = str(error)
            time.sleep(args.poll_s)
            continue
        if reported:
            _say(args, "continuing", "what was in the way is gone")
        return answer


def _say(args: argparse.Namespace, event: str, about: str) -> None:
    """Print what happens at once, also to a pipe."""
    if args.json:
        out_json({"event": event, "about": about})
    else:
        out(f"{event} {about}")
    sys.stdout.flush()
