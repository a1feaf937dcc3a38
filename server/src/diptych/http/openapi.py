"""Write the OpenAPI description of the API to a file.

`python -m diptych.http.openapi FILE` writes the description; the committed one is server/openapi.json.
"""

import json
import sys
from pathlib import Path

from diptych.core.services import Services


def description_text() -> str:
    """The description as it is committed: sorted and indented, for readable diffs."""
    from diptych.http.app import create_app  # noqa: PLC0415 - imports the whole application

    return json.dumps(create_app(_never_load).openapi(), indent=1, sort_keys=True) + "\n"


async def _never_load() -> Services:
    raise AssertionError("the description needs no services")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(description_text())
