"""The page's own files have lines that a person can read: the vendored ones are left as they are."""

from support.documents import ROOT

PAGE = ROOT / "server" / "src" / "diptych" / "http" / "page"
OWN = sorted([*(PAGE / "js").rglob("*.js"), *(PAGE / "css").rglob("*.css"), *PAGE.glob("*.html")])
MAX_CHARS = 120


def test_lines_of_the_page_are_short() -> None:
    assert len(OWN) > 40
    long = [
        f"{file.relative_to(PAGE)}:{number}: {len(line)} characters, limit is {MAX_CHARS}"
        for file in OWN
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MAX_CHARS
    ]
    assert long == []
