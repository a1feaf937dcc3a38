"""The page of a comparison: whole by itself, and nothing in it that a query or an id could break."""

import json
from dataclasses import replace

from diptych.cli.output.comparison_page import comparison_page, shown_images
from diptych_client import ChangedQuery, CollectionComparison, ComparedVectors, Comparison

OLD, NEW = (ComparedVectors("mine", version, "fp32", 0.99999) for version in (4, 5))
PNG, JPEG = b"\x89PNG pixels", b"\xff\xd8\xff pixels"
TEXT = ChangedQuery(0.5, ("tom", "rex"), ("rex", "kit"), text="cat & <script>alert(1)</script>")
IMAGE = ChangedQuery(0.0, ("tom",), ('"><img src=x>',), id="rex")
PETS = CollectionComparison("pets", 10, 1.0, NEW, OLD, 2, 0.25, (TEXT, IMAGE))


def test_page_embeds_each_picture_once() -> None:
    page = comparison_page(Comparison((PETS,)), {("pets", "tom"): PNG, ("pets", "rex"): JPEG})
    assert page.count("data:image/png;base64,") == 1
    assert page.count("data:image/jpeg;base64,") == 1
    assert page.count('aria-label="tom"') == 2
    assert page.count('aria-label="rex"') == 3
    assert "mine/4 (fp32) → mine/5 (fp32)" in page


def test_page_marks_what_both_sides_find() -> None:
    page = comparison_page(Comparison((replace(PETS, changed=(TEXT,)),)), {("pets", "rex"): PNG})
    assert page.count('class="picture p0 shared"') == 2
    assert 'class="picture missing " title="tom"' in page
    assert 'class="picture missing " title="kit"' in page
    assert "1 of 2 in common" in page


def test_texts_and_ids_are_escaped() -> None:
    hostile = replace(PETS, collection="<b>pets")
    page = comparison_page(Comparison((hostile,), ("<u>not met",)), {})
    for markup in ("<script", "<img", "<b>", "<u>"):
        assert markup not in page
    assert "cat &amp; &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&quot;&gt;&lt;img src=x&gt;" in page


def test_page_loads_nothing_from_elsewhere() -> None:
    page = comparison_page(Comparison((PETS,)), {("pets", "tom"): PNG})
    assert "default-src 'none'" in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_collections_without_changes_and_several_pairs_have_a_page_too() -> None:
    same = replace(PETS, collection="scans", overlap_at_10=1.0, changed=())
    empty = replace(same, collection="empty", old=None, overlap_at_10=None, n_queries=0)
    page = comparison_page(Comparison((PETS, same, empty, replace(PETS, old=NEW, new=OLD))), {})
    assert "Comparison of versions" in page
    assert page.count("No query changes.") == 1
    assert "change most in empty" not in page


def test_page_says_what_was_proven() -> None:
    page = comparison_page(Comparison((PETS, PETS)), {})
    assert (
        page.count(
            "mine/5 (fp32) reproduces its golden outputs on the server: every cosine is at least 0.99999"
        )
        == 1
    )


def test_shown_images_are_listed_once_each() -> None:
    assert shown_images(Comparison((PETS,))) == [
        ("pets", "tom"), ("pets", "rex"), ("pets", "kit"), ("pets", '"><img src=x>'),
    ]  # fmt: skip
    assert json.dumps(shown_images(Comparison(()))) == "[]"
