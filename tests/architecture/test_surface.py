"""What users rely on is what is committed: API, settings, commands, exit statuses, metrics, bundle.

A change that is meant: `make generated`, and a line in the changelog.
"""

import json
from pathlib import Path

from support.surface import COMMITTED, ROOT, differences, surface
from support.surface_of.checkout import Checkout


def test_surface_is_the_one_that_is_committed(tmp_path: Path) -> None:
    before, now = json.loads(COMMITTED.read_text()), surface(Checkout(ROOT, tmp_path))
    found = differences(before, {part: now[part] for part in before})
    meant = "if it is meant: make generated"
    assert not found, "\n".join([*found, meant])


def test_differences_are_named_by_their_place() -> None:
    before = {"commands": {"a": {"--x": "default 1", "--y": ""}}, "metrics": {"n": "gauge"}}
    now = {"commands": {"a": {"--x": "default 2", "--z": ""}}, "metrics": {"n": "gauge"}}
    assert differences(before, before) == []
    assert differences(before, now) == [
        'commands > a > --x: "default 1" became "default 2"',
        "commands > a > --y: gone",
        "commands > a > --z: new",
    ]
