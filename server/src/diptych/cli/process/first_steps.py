"""What to try first on a server that is ready: commands that work as they stand. Knows not how it runs."""

import shlex
import shutil
import sys
from pathlib import Path

from diptych.cli.process.gallery import COLLECTION


def first_steps(url: str, sample: Path | None, *, needs_key: bool) -> list[str]:
    """The address, one `curl` and one `diptych add`. `sample` is a picture of the gallery."""
    key = ' -H "Authorization: Bearer $DIPTYCH_API_KEY"' if needs_key else ""
    there = shlex.quote(url)
    if sample is None:
        ask, added = f"{there}/embed -F 'text=a car'", "FOLDER"
    else:
        ask = f"-G {there}/search -d collection={COLLECTION} -d k=3 --data-urlencode 'q=a car'"
        added = shlex.quote(str(sample.absolute()))
    return [
        f"diptych is ready: open {url} in a browser, or try in another terminal"
        + (", with its key in DIPTYCH_API_KEY:" if needs_key else ":"),
        f"  curl -s{key} {ask}",
        f"  {_program()} add --url {there} {added}",
    ]


def _program() -> str:
    """This `diptych`, from any folder and without its environment being active."""
    script = shutil.which("diptych", path=str(Path(sys.executable).parent))
    return shlex.quote(script) if script else f"{shlex.quote(sys.executable)} -m diptych"
