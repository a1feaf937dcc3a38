"""Push a published version to a running server on another machine: the flag `--push URL` of commands."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME
from diptych_client import Client, ClientError
from diptych_training.errors import PushFailed
from diptych_training.progress import progress_bar

KEY_VARIABLE = "DIPTYCH_API_KEY"
SERVER_WITHOUT_KEY = (
    "this server was started without an API key, and takes no pushes then. Whoever runs it starts it again "
    f"with {KEY_VARIABLE} set, to the key that you push with"
)


def add_push_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--push URL`."""
    parser.add_argument(
        "--push",
        metavar="URL",
        help=f"then push the version to the server at this URL, whose API key {KEY_VARIABLE} holds",
    )


def environment_key() -> str | None:
    """The API key in DIPTYCH_API_KEY; None if it is empty."""
    return os.environ.get(KEY_VARIABLE) or None


def require_server(name: str, url: str, api_key: str | None) -> None:
    """Raise PushFailed if a version of `name` could not be pushed to this server, before the long work.

    Without a key, for the name of the default model, if the server cannot be reached, refuses the key, or
    has no key itself: it answers anybody then, and takes no pushes.
    """
    if name == SHIPPED_NAME:
        raise PushFailed(
            f"--push: the name {name!r} is kept for the default model, choose one of your own with --name"
        )
    if api_key is None:
        raise PushFailed(f"--push: a push needs the API key of the server, set {KEY_VARIABLE}")
    with _failing(f"--push {url}"), Client(url, api_key) as client:
        client.version()
    with suppress(ClientError), Client(url, None) as anybody:
        anybody.version()
        raise PushFailed(f"--push {url}: {SERVER_WITHOUT_KEY}")


def push_version(folder: Path, url: str, api_key: str | None) -> str:
    """Push the version in this folder of a repository. Return its title on the server, such as ``mine/3``.

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

        pushed = client.push_model(folder, on_progress=sent)
    return f"{pushed.name}/{pushed.version}"


def push_and_report(folder: Path, url: str) -> None:
    """Push with the key of the environment, and print where the version is. Raises PushFailed."""
    title = push_version(folder, url, environment_key())
    print(f"pushed to {url} as {title}: it is served after a restart of that server")  # noqa: T201 - of a command


@contextmanager
def _failing(what: str, repeat: str = "") -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        hint = f". To repeat the push: {repeat}" if repeat else ""
        raise PushFailed(f"{what}: {error}{hint}") from error
