"""The committed description of the API is the app's own."""

import json
from pathlib import Path

from diptych.http.openapi import description_text

COMMITTED = Path(__file__).parents[2] / "server" / "openapi.json"


def test_committed_description_is_the_apps_own() -> None:
    expected = json.loads(COMMITTED.read_text(encoding="utf-8"))
    refresh = "refresh it: make generated"
    assert json.loads(description_text()) == expected, refresh
