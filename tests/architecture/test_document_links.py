"""Every relative link of a Markdown page leads to a file, and every anchor to a heading."""

from pathlib import Path
from urllib.parse import unquote

import pytest

from support.documents import DOCS, ROOT, anchors, documents, links

MAX_LINES = 320
TARGETS = [
    (document.relative_to(ROOT), target)
    for document in documents()
    for target in links(document)
    if "://" not in target and not target.startswith("mailto:")
]


@pytest.mark.parametrize(("document", "target"), TARGETS)
def test_link_leads_to_a_file_and_its_anchor_to_a_heading(document: Path, target: str) -> None:
    path, _, anchor = unquote(target).partition("#")
    file = ((ROOT / document).parent / path).resolve() if path else ROOT / document
    assert file.exists(), f"{document}: {target}: there is no {path}"
    assert file.is_relative_to(ROOT), f"{document}: {target} leaves the repository"
    if anchor:
        assert anchor in anchors(file), f"{document}: {target}: {file.name} has no heading {anchor!r}"


def test_links_are_found() -> None:
    assert len(TARGETS) > 50


def test_index_of_the_docs_links_every_page() -> None:
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert pages - set(links(DOCS / "README.md")) == set()


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_page_of_the_docs_is_short_enough_to_find_one_s_way(page: str) -> None:
    assert len((DOCS / page).read_text(encoding="utf-8").splitlines()) <= MAX_LINES
