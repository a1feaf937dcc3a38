"""The page draws the line between hits where the measurements put it."""

import re

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from support.documents import ROOT

PAGE = ROOT / "server" / "src" / "diptych" / "http" / "page" / "js"
BOUNDS = dict(RECOMMENDED_RELEVANCE)


def test_the_page_has_the_recommended_bounds() -> None:
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in sorted(PAGE.rglob("*.js")))
    (bounds,) = re.findall(r"\bMIN_RELEVANCE = \{([^}]*)\}", scripts)
    assert {kind: float(bound) for kind, bound in re.findall(r"(\w+): ([\d.]+)", bounds)} == BOUNDS
