"""The page of a search: whole by itself, and nothing in it that a query or an id could break."""

from dataclasses import replace

from diptych.cli.output.contact_sheet import contact_sheet
from diptych_client import Duplicate, Hit, ModelRef, Query, SearchResult

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
