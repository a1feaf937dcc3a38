"""Follow a rollout of the server on the terminal, and print how it ended."""

import argparse
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from diptych.cli.output.console import err, out, out_json
from diptych_client import Client, Rollout, RolloutProgress

_WITH_IMAGES = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} images{postfix}"
_WITHOUT_IMAGES = "{desc}"


def add_follow_flag(parser: argparse.ArgumentParser, *, default: bool | None, about: str) -> None:
    """Add --follow and --no-follow."""
    parser.add_argument("--follow", action=argparse.BooleanOptionalAction, default=default, help=about)


def finish_rollout(client: Client, rollout: Rollout, *, follow: bool, as_json: bool) -> int:
    """Follow a rollout to its end if asked to, print it, and return the exit status."""
    if follow:
        rollout = follow_rollout(client, rollout, hidden=as_json)
    if as_json:
        out_json(asdict(rollout))
    else:
        print_rollout(rollout)
    return exit_status(rollout)


def follow_rollout(client: Client, rollout: Rollout, *, hidden: bool) -> Rollout:
    """Wait for the end of a rollout, with a progress bar, and return it. Interrupts do not stop it."""
    if rollout.has_ended:
        return rollout
    try:
        with RolloutBar(hidden=hidden) as bar:
            return client.wait_for_rollout(rollout.id, on_progress=bar.show)
    except KeyboardInterrupt:
        err("the server goes on with it: `diptych models` follows it, `diptych models cancel` ends it")
        raise


def exit_status(rollout: Rollout) -> int:
    """0, or 1 if the rollout has failed or was cancelled."""
    return 1 if rollout.state in {"failed", "cancelled"} else 0


def print_rollout(rollout: Rollout) -> None:
    """Print how a rollout has ended, or how far it has come."""
    what = f"{rollout.target} in {rollout.target.precision}"
    if rollout.state == "active":
        out(f"{what} serves now")
    elif rollout.state == "failed":
        err(f"{what} does not serve, what served before serves on: {rollout.reason}")
        if rollout.comparison is not None:
            err("`diptych models compare` shows what would have changed")
    elif rollout.state == "cancelled":
        err(f"the rollout to {what} was cancelled: {rollout.reason}")
    else:
        n_done = "" if rollout.progress is None else f", {_count(rollout.progress)}"
        state = f"{rollout.state}{n_done}{_waiting(rollout)}"
        out(f"rollout {rollout.id} to {what}: {state}; `diptych models --follow` follows it")
    for name, reason in rollout.stays.items():
        out(f"collection {name} stays on the version of its vectors: {reason}")


class RolloutBar:
    """The state and progress of a rollout: a bar on stderr if that is a terminal, else a line for each state.

    `hidden`: nothing is shown.
    """

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._title = ""
        self._bar: tqdm[Any] = tqdm(total=0, bar_format=_WITHOUT_IMAGES, disable=True if hidden else None)

    def show(self, rollout: Rollout) -> None:
        """Show the rollout as it is now."""
        title = f"{rollout.target}: {rollout.state}{_waiting(rollout)}"
        if self._bar.disable:
            if title != self._title and not self._hidden:
                err(title)
            self._title = title
            return
        self._bar.set_description_str(title, refresh=False)
        progress = rollout.progress
        self._bar.bar_format = _WITH_IMAGES if progress and progress.n_images else _WITHOUT_IMAGES
        if progress is not None:
            self._bar.total, self._bar.n = progress.n_images, progress.n_embedded
            self._bar.set_postfix_str(_speed(progress), refresh=False)
        self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def _waiting(rollout: Rollout) -> str:
    """Which other servers a rollout waits for; a rollout that has ended has another reason."""
    return f", {rollout.reason}" if rollout.reason and not rollout.has_ended else ""


def _count(progress: RolloutProgress) -> str:
    return f"{progress.n_embedded} of {progress.n_images} images"


def _speed(progress: RolloutProgress) -> str:
    rate, left = progress.images_per_s, progress.eta_s
    parts = [] if rate is None else [f"{rate:.3g} images/s"]
    return ", ".join(parts if left is None else [*parts, f"{tqdm.format_interval(left)} left"])
