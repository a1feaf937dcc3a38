"""The pages of a search and of a comparison: whole by themselves, and no query or id breaks them."""

from dataclasses import replace

from diptych.cli.output.comparison_page import comparison_page
from diptych.cli.output.contact_sheet import contact_sheet
from diptych_client import (
    ChangedQuery,
    CollectionComparison,
    ComparedVectors,
    Comparison,
    Duplicate,
    Hit,
    ModelRef,
    Query,
    SearchResult,
)

MODEL = ModelRef("tiny", 3, "fp32", "exact")
TOM = Hit("tom", 0.34567, 0.5, {"name": "cat", "year": 1999}, {}, collection="pets")
REX = Hit("rex", 0.1, None, {}, {}, (Duplicate("rex-2", "bytes", "pets"),), collection="pets")
FOUND = SearchResult(MODEL, "pets", (TOM, REX), truncated=False, collections=("pets",))
PNG = b"\x89PNG pixels"


def test_page_has_each_hit_with_picture_scores_and_metadata() -> None:
    page = contact_sheet([Query(text="a cat")], FOUND, {("pets", "tom"): PNG}, offset=10)
    assert "<h1>a cat</h1>" in page
    assert "2 hits in pets, by tiny/3 (fp32)" in page
    assert page.count("data:image/png;base64,") == 1
    assert "11. cat" in page
    assert "id: tom" in page
    assert "cosine 0.346 · relevance 0.50" in page
    assert "year: 1999" in page
    assert "cosine 0.100 · 1 more of it" in page
    assert page.count("no picture is kept") == 1


def test_mixed_query_is_the_title_and_several_collections_name_each_hit() -> None:
    parts = [Query(text="sad", weight=0.8), Query(id="tom"), Query(text="a dog", weight=-0.5)]
    several = replace(FOUND, collection=None, collections=("pets", "farm"))
    page = contact_sheet(parts, several, {})
    assert "<title>sad (0.8) + the image tom + a dog (-0.5)</title>" in page
    assert "id: pets/tom" in page


def test_texts_ids_and_metadata_are_escaped_and_nothing_is_loaded() -> None:
    hostile = replace(TOM, id='"><img src=x>', metadata={"<b>": "$hits <script>alert(1)</script>"})
    page = contact_sheet(
        [Query(text="<u>$title")], replace(FOUND, hits=(hostile,)), {("pets", hostile.id): PNG}
    )
    for markup in ("<script", "<img src=x", "<b>", "<u>"):
        assert markup not in page
    assert "default-src 'none'" in page
    assert "1 hit in pets" in page


OLD, NEW = (ComparedVectors("mine", version, "fp32", 0.99999) for version in (4, 5))
JPEG = b"\xff\xd8\xff pixels"
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
