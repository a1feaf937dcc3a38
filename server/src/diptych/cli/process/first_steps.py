"""Commands to try first on a server that is ready. They work as printed."""

import shlex
import shutil
import sys
from pathlib import Path

from diptych.cli.process.gallery import COLLECTION


def first_steps(url: str, sample: Path | None, *, needs_key: bool, read_only: bool = False) -> list[str]:
    """Return the address, one `curl` and one `diptych add`. `sample` is a picture of the gallery.

    A `read_only` server takes no picture.
    """
    key = ' -H "Authorization: Bearer $DIPTYCH_API_KEY"' if needs_key else ""
    quoted_url = shlex.quote(url)
    if sample is None:
        request, path = f"{quoted_url}/embed -F 'text=a car'", "FOLDER"
    else:
        request = f"-G {quoted_url}/search -d collection={COLLECTION} -d k=3 --data-urlencode 'q=a car'"
        path = shlex.quote(str(sample.absolute()))
    steps = [
        f"diptych is ready: open {url} in a browser, or try in another terminal"
        + (", with its key in DIPTYCH_API_KEY:" if needs_key else ":"),
        f"  curl -s{key} {request}",
        f"  {_program()} add --url {quoted_url} {path}",
    ]
    return steps[:-1] if read_only else steps


def _program() -> str:
    """Return the path of this `diptych`, which works from any folder and without an active environment."""
    script = shutil.which("diptych", path=str(Path(sys.executable).parent))
    return shlex.quote(script) if script else f"{shlex.quote(sys.executable)} -m diptych"
