"""The page of a comparison: whole by itself, and nothing in it that a query or an id could break."""

from dataclasses import replace

from diptych.cli.output.comparison_page import comparison_page
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
