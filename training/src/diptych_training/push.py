"""Push a published version to a running server, which then serves it: the flag `--push URL` of commands."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME
from diptych_client import Client, ClientError, Hit, NotFound, PushedVersion, Rollout
from diptych_training.errors import PushFailed
from diptych_training.progress import Reporter, progress_bar

N_HITS = 5
N_COLLECTIONS = 20  # that are searched
KEY_VARIABLE = "DIPTYCH_API_KEY"
SERVER_WITHOUT_KEY = (
    "this server was started without an API key, and takes no pushes then. Whoever runs it starts it again "
    f"with {KEY_VARIABLE} set, to the key that you push with"
)


def add_push_flag(parser: argparse.ArgumentParser, without_url: str | None = None) -> None:
    """Add `--push URL`. The URL may be left out if `without_url` says in the help what that means."""
    parser.add_argument(
        "--push",
        metavar="URL",
        nargs=None if without_url is None else "?",
        const=None if without_url is None else "",
        help=f"then push the version to the server at this URL{without_url or ''} and wait until it serves; "
        f"its API key is in {KEY_VARIABLE}",
    )


def environment_key() -> str | None:
    """The API key in DIPTYCH_API_KEY; None if it is empty."""
    return os.environ.get(KEY_VARIABLE) or None


def require_server(name: str, url: str, api_key: str | None) -> None:
    """Raise PushFailed if a version of `name` could not be pushed to this server, before the long work.

    Without a key, for the name of the default model, if the server cannot be reached, if the key is refused
    or has no scope admin, or if the server has no key itself: it answers anybody then, and takes no pushes.
    """
    if name == SHIPPED_NAME:
        raise PushFailed(
            f"--push: the name {name!r} is kept for the default model, choose one of your own with --name"
        )
    if api_key is None:
        raise PushFailed(f"--push: a push needs the API key of the server, set {KEY_VARIABLE}")
    with _failing(f"--push {url}"), Client(url, api_key) as client:
        client.version()
        with suppress(NotFound):  # of an older server, whose only key has all rights
            client.keys()  # which needs the scope that a push needs
    with suppress(ClientError), Client(url, None) as anybody:
        anybody.version()
        raise PushFailed(f"--push {url}: {SERVER_WITHOUT_KEY}")


def push_version(folder: Path, url: str, api_key: str | None) -> PushedVersion:
    """Push the version in this folder of a repository. It has its own number on the server, such as 3.

    Shows a progress bar. A version that the server has already keeps its number. Raises PushFailed, which
    says how to push it later.
    """
    with (
        _failing(
            f"{folder} is published, but was not pushed to {url}", f"diptych models push {folder} --url {url}"
        ),
        Client(url, api_key) as client,
        progress_bar(unit="B", desc="push", unit_scale=True) as bar,
    ):

        def sent(n_sent: int, n_bytes: int) -> None:
            bar.total = n_bytes
            bar.update(n_sent - bar.n)  # negative when a busy server gets all of it again

        return client.push_model(folder, on_progress=sent)


def serve_pushed(pushed: PushedVersion, url: str, api_key: str | None, report: Reporter = print) -> bool:
    """Activate a pushed version and follow its rollout until it serves, unless the server's policy forbids.

    Says how it ended, and returns whether the version serves now. Raises PushFailed if the rollout fails.
    """
    title, activate = f"{pushed.name}/{pushed.version}", f"{pushed.name} {pushed.version} --url {url}"
    repeat = f"diptych models activate {activate}"
    with (
        _failing(f"{title} is on {url}, but was not activated", repeat, "activate it"),
        Client(url, api_key) as client,
    ):
        status = client.rollout_status()
        if pushed.active:
            report(f"{title} serves there already")
            return True
        if status.policy is None:
            report("that server is of an older diptych: it serves the version after a restart")
            return False
        if status.policy != "latest":
            report(f"the policy of that server is {status.policy}. To serve the version: {repeat}")
            return False
        rollout = client.activate(pushed.name, pushed.version)
        if not rollout.has_ended:
            rollout = _followed(client, rollout)
    if rollout.state != "active":
        ended = "was cancelled" if rollout.state == "cancelled" else "failed"
        if _agrees_less(rollout):
            then = f" (with --url {url}). What would change: diptych models compare --url {url}"
        else:
            then = f". To try again: {repeat}"
        raise PushFailed(
            f"{title} is on {url}, but does not serve: its rollout {ended}: {rollout.reason}{then}"
        )
    report(f"{title} serves there now")
    for name, reason in rollout.stays.items():
        report(f"collection {name} stays on the version of its vectors: {reason}")
    return True


def push_and_report(folder: Path, url: str, queries: Sequence[str] = (), report: Reporter = print) -> bool:
    """Push with the key of the environment, and let the server serve the version; say both.

    Says what `queries` find on the server before and after, in the collection that answers them best, if one
    moves with the server. Returns whether the version serves now. Raises PushFailed.
    """
    api_key = environment_key()
    before = _search(url, api_key, queries)
    pushed = push_version(folder, url, api_key)
    report(f"pushed to {url} as {pushed.name}/{pushed.version}")
    serves = serve_pushed(pushed, url, api_key, report)
    if serves and (after := _search(url, api_key, queries, list(before))):
        best = max(after, key=lambda name: _closeness(after[name]))
        report(_compared(best, before[best], after[best]))
    return serves


def _agrees_less(rollout: Rollout) -> bool:
    """Whether label sets refused the switch: the reason ends with the command that serves it all the same."""
    compared = () if rollout.comparison is None else rollout.comparison.collections
    return any(labels.agrees_less for one in compared for labels in one.labels)


_Found = dict[str, tuple[Hit, ...]]  # by query


def _search(
    url: str, api_key: str | None, queries: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, _Found]:
    """Search these collections, or those that follow the server's version, with the queries."""
    found: dict[str, _Found] = {}
    if not queries:
        return found
    with suppress(ClientError), Client(url, api_key) as client:
        for name in _following(client) if names is None else names:
            found[name] = {query: client.search(query, collection=name, k=N_HITS).hits for query in queries}
    return found


def _following(client: Client) -> list[str]:
    """The largest collections that can be searched and move with the server."""
    active = client.rollout_status().active
    found = [
        one
        for one in client.collections()
        if active is not None and one.model == active.name and not one.stays
        if one.state == "ready" and one.n_images
    ]
    return [one.name for one in sorted(found, key=lambda one: -one.n_images)[:N_COLLECTIONS]]


def _closeness(found: _Found) -> float:
    return sum(hits[0].cosine for hits in found.values() if hits)


def _compared(collection: str, before: _Found, after: _Found) -> str:
    lines = [f"\nsearches on the server, in its collection {collection}:"]
    for query in before:
        old, new = (", ".join(hit.id for hit in found[query]) for found in (before, after))
        lines += [f"“{query}”", f"  before  {old}", f"  after   {new}"]
    return "\n".join(lines)


def _followed(client: Client, rollout: Rollout) -> Rollout:
    """The rollout at its end. Shows its state and the images that are embedded."""
    with progress_bar(unit="image", desc=rollout.state) as bar:

        def show(now: Rollout) -> None:
            bar.set_description_str(f"{now.target} {now.state}", refresh=False)
            if now.progress is not None:
                bar.total = now.progress.n_images
                bar.update(now.progress.n_embedded - bar.n)

        return client.wait_for_rollout(rollout.id, on_progress=show)


@contextmanager
def _failing(what: str, repeat: str = "", to: str = "repeat the push") -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        hint = f". To {to}: {repeat}" if repeat else ""
        raise PushFailed(f"{what}: {error}{hint}") from error
