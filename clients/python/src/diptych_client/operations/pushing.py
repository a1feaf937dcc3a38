"""Push: send a model version to a server that runs on another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diptych_client.binding import Call
from diptych_client.errors import InvalidCall, UnreadableFile
from diptych_client.results.models import PushedVersion
from diptych_client.steps import TAR, ReadFile, Request, Steps, path_of, result_of

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 4_000_000  # as the server's


def push_model(
    folder: str | os.PathLike[str],
    name: str | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Steps[PushedVersion]:
    """Publish the model version in `folder`, as a bundle of a repository, as the server's next one of `name`.

    Without a name it keeps its own. The files are streamed, and `on_progress` gets the number of bytes sent
    and of all. A version that the server has already is found again, so repeat an interrupted call. The
    server must have an API key. `activate` makes it serve the version; by the policy "latest" it moves to a
    new version of the name that it serves by itself. Raises UnreadableFile, InvalidCall for a folder that is
    not a version, Forbidden without a key on the server, Conflict for the name of the
    default model, InvalidValue naming the file that the server refuses.

    >>> pushed = client.push_model("model_repo/tiny/1", "mine")
    >>> pushed.name, pushed.version
    ('mine', 1)
    """
    folder = Path(folder)
    raw: bytes | UnreadableFile = yield ReadFile(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    if isinstance(raw, UnreadableFile):
        raise raw
    own_name, files = _listed(folder / MANIFEST_FILE, raw)
    request = Request(
        "POST",
        path_of("models", own_name if name is None else name, "versions"),
        tar=[folder / file for file in (MANIFEST_FILE, *files)],
        content_type=TAR,
        on_progress=on_progress,
    )
    return (yield from result_of(request, PushedVersion))


def _listed(manifest_file: Path, raw: bytes) -> tuple[str, list[str]]:
    """The name in a manifest and the files that it lists. Raises InvalidCall if it is no manifest."""
    try:
        manifest: Any = json.loads(raw)
        name, files = manifest["name"], list(manifest["files"])
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise InvalidCall(f"{manifest_file}: is not the manifest of a model version: {error!r}") from error
    for file in files:
        if file in {"", ".", ".."} or Path(file).name != file:
            raise InvalidCall(f"{manifest_file}: lists {file[:100]!r}, which is not a plain file name")
    return str(name), files


class PushingCalls:
    """The calls of this module, as methods of both clients."""

    push_model = Call(push_model)
