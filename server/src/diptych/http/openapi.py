"""Writes the OpenAPI description of the whole API.

`python -m diptych.http.openapi FILE` writes the description; the committed one is server/openapi.json.
"""

import json
import sys
from pathlib import Path
from typing import NoReturn

from diptych.core.services import Services


def description_text() -> str:
    """The committed form of the description: sorted and indented, so that changes read well."""
    from diptych.http.app import create_app  # noqa: PLC0415 - the app describes itself with this module

    return json.dumps(create_app(_never).openapi(), indent=1, sort_keys=True) + "\n"


async def _never() -> Services:
    return _unreachable()


def _unreachable() -> NoReturn:
    raise AssertionError("an app that is only described never loads")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(description_text())
