"""The page and the documentation draw the line between hits where the measurements put it."""

import re

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from support.documents import ROOT

PAGE = ROOT / "server" / "src" / "diptych" / "http" / "page" / "js"
GUIDE = ROOT / "docs" / "collections-and-search.md"
BOUNDS = dict(RECOMMENDED_RELEVANCE)


def test_the_page_and_the_guide_have_the_recommended_bounds() -> None:
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in sorted(PAGE.rglob("*.js")))
    (bounds,) = re.findall(r"\bMIN_RELEVANCE = \{([^}]*)\}", scripts)
    assert {kind: float(bound) for kind, bound in re.findall(r"(\w+): ([\d.]+)", bounds)} == BOUNDS
    guide = GUIDE.read_text(encoding="utf-8")
    assert re.findall(r"\*\*Start with ([\d.]+)\*\*", guide) == [str(BOUNDS["text"])]
    assert re.findall(r"An image query [^.]*\.\d: take ([\d.]+\d)", guide) == [str(BOUNDS["image"])]
    assert re.findall(r"--min-relevance ([\d.]+)", guide)[0] == str(BOUNDS["text"])
