"""The page and the documentation draw the line between hits where the measurements put it."""

import re

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from support.documents import ROOT

PAGE = ROOT / "server" / "src" / "diptych" / "http" / "page" / "js"
GUIDE = ROOT / "docs" / "collections-and-search.md"


def test_the_page_and_the_guide_have_the_recommended_bound() -> None:
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in sorted(PAGE.rglob("*.js")))
    assert [float(one) for one in re.findall(r"\bMIN_RELEVANCE = ([\d.]+)", scripts)] == [
        RECOMMENDED_RELEVANCE
    ]
    guide = GUIDE.read_text(encoding="utf-8")
    assert [float(one) for one in re.findall(r"\*\*Start with ([\d.]+)\*\*", guide)] == [
        RECOMMENDED_RELEVANCE
    ]
    assert float(re.findall(r"--min-relevance ([\d.]+)", guide)[0]) == RECOMMENDED_RELEVANCE
