"""Words: what is indexed of an image, and how a query is read."""

from typing import Any

import pytest

from diptych.core.collections.metadata.tokens import MAX_TOKEN_CHARS, tokens
from diptych.core.collections.metadata.words import (
    BREAK,
    MAX_QUERY_TOKENS,
    Document,
    Phrase,
    WordQuery,
    document_of,
    matched_fields,
    parse_words,
    without_syntax,
)

CONTENT_ID = "0123456789abcdef" * 2
HOSTILE = [
    *(
        "",
        " ",
        "*",
        '"',
        '""',
        '"""',
        "'",
        "\\",
        "\0",
        "a\0b",
        "🐱",
        "👩‍👩‍👧",
        "\ud800",
        "^a",
        "-b",
        "+c",
        "col:x",
    ),
    *(
        "AND",
        "a OR",
        "NOT",
        "NEAR(a b, 3)",
        "a AND (b",
        "{name caption} : a",
        'name : "a"',
        "a * b",
        "**",
        '"*',
    ),
    *("') DROP TABLE images; --", "\u202eabc\u202c", "a\u0301" * 50_000, '"a" ' * 25_000, '"' * 100_000),
    *("x" * 100_000, "x* " * 50_000, "猫" * 30_000, "\u0301" * 100_000),
    *("‚" * 100_000, "‘a’b" * 25_000, "“a" * 50_000, "a" + "*" * 100_000 + "b"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_tokens_of_any_text_hold_letters_digits_and_marks_only(text: str) -> None:
    queried = [token for phrase in parse_words(text).phrases for token in phrase.tokens]
    for token in [*tokens(text), *tokens(without_syntax(text)), *queried]:
        assert 0 < len(token) <= MAX_TOKEN_CHARS
        assert token.replace("\u0301", "").isalnum()
        assert token.encode()
        assert tokens(token) == [token]


def test_long_tokens_are_cut_alike_in_images_and_queries() -> None:
    assert tokens("x" * 100) == ["x" * MAX_TOKEN_CHARS]
    assert parse_words("x" * 100).phrases == (Phrase(("x" * MAX_TOKEN_CHARS,)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("black Cat", ["black", "cat"]),
        ("cat cat", ["cat"]),
        ('"Black cat" dog', ["black cat", "dog"]),
        ('"black cat', ["black cat"]),
        ('dog"black cat"', ["dog", "black cat"]),
        ("“hot dog” „red cat“ «a b» « c d » ‹e f› ”g h”", ["hot dog", "red cat", "a b", "c d", "e f", "g h"]),
        ("‘hot dog’ ‚red cat‘ ‘dog’s tail’*", ["hot dog", "red cat", "dog s tail*"]),
        ("don’t dogs’ tails", ["don t", "dogs", "tails"]),
        ("rock’n’roll o‘clock it’s", ["rock n roll", "o clock", "it s"]),
        ("‘90s cars", ["90s", "cars"]),
        ("moun* lake", ["moun*", "lake"]),
        ('"black moun*" "red l"*', ["black moun*", "red l*"]),
        ("IMG_1234", ["img 1234"]),
        ("IMG_1234.JPG img_1.heic*", ["img 1234", "img 1*"]),
        ("don't e-mail", ["don t", "e mail"]),
        ("black\u200bcat", ["black", "cat"]),
        ("cats,dogs;birds (fish)", ["cats", "dogs", "birds", "fish"]),
        ("東京 猫", ["東 京", "猫"]),
        ("東京、大阪\uff0c京都", ["東 京", "大 阪", "京 都"]),
        ("AND not NEAR(a b) col:x", ["and", "not", "near", "a", "b", "col x"]),
    ],
)
def test_query_is_words_phrases_and_prefixes(text: str, expected: list[str]) -> None:
    found = [" ".join(one.tokens) + "*" * one.is_prefix for one in parse_words(text).phrases]
    assert found == expected


@pytest.mark.parametrize("text", ["", "  ", "*", '""', '"', "🐱", "\0", "-", "'"])
def test_query_without_tokens_has_no_phrases(text: str) -> None:
    assert parse_words(text) == WordQuery()


def test_only_the_first_tokens_of_a_query_count() -> None:
    words = [f"w{n}" for n in range(MAX_QUERY_TOKENS + 9)]
    assert [one.tokens[0] for one in parse_words(" ".join(words)).phrases] == words[:MAX_QUERY_TOKENS]
    (phrase,) = parse_words(f'"{" ".join(words)}"*').phrases
    assert phrase == Phrase(tuple(words[:MAX_QUERY_TOKENS]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"full moon"', "full moon"),
        ('a "full moon" over the “black sea”', "a full moon over the black sea"),
        ("mount*", "mount"),
        ('"red l"* „moun*“', "red l moun"),
        ("‘hot dog’s’ don’t", "hot dog’s don’t"),
        ("5*4  metres, it's", "5*4  metres, it's"),
        ('"', '"'),
        ('""*', '""*'),
    ],
)
def test_meaning_is_read_without_quotes_and_stars_of_prefixes(text: str, expected: str) -> None:
    assert without_syntax(text) == expected


METADATA: dict[str, Any] = {
    "file": {"name": "IMG_1234.JPG", "folder": "2024/rome", "modified": "2024-05-01T12:00:00Z"},
    "exif": {"taken_at": "2024-05-01T10:11:12", "camera": "Canon EOS R5"},
    "Title": "Black cat",
    "tags": ["red sofa", "猫"],
    "iptc": {"caption": "deep", "place": {"city": "Malmö"}},
    "year": 2024,
    "seen": True,
    "none": None,
}


def test_names_captions_and_other_texts_are_indexed_in_columns_of_their_own() -> None:
    found = document_of("my-id", METADATA, None)
    assert found == Document(
        name=f"img 1234 {BREAK} my id",
        caption=f"black cat {BREAK} red sofa {BREAK} 猫 {BREAK} deep",
        other=f"2024 rome {BREAK} canon eos r5 {BREAK} malmo",
    )


@pytest.mark.parametrize(
    ("id", "name"), [(CONTENT_ID, "img 1"), ("img-1.png", "img 1"), ("a", f"img 1 {BREAK} a")]
)
def test_id_is_indexed_unless_it_is_of_the_content_or_the_file_name(id: str, name: str) -> None:
    assert document_of(id, {"file": {"name": "img_1.jpg"}}, None).name == name


def test_path_that_an_earlier_release_stored_is_a_name_and_a_folder() -> None:
    assert document_of(CONTENT_ID, {"file": "rome/IMG_1.jpg"}, None) == Document("img 1", "", "rome")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], Document("my id")),
        (["Title", "iptc.place"], Document("my id", "black cat", "malmo")),
        (["file"], Document(f"img 1234 {BREAK} my id", "", "2024 rome")),
        (["tit", "iptc.caption.x", "year"], Document("my id")),
    ],
)
def test_chosen_fields_alone_are_indexed_with_the_id(fields: list[str], expected: Document) -> None:
    assert document_of("my-id", METADATA, fields) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", ["Title"]),
        ("black 2024", ["file.folder", "Title"]),
        ("canon", ["exif.camera"]),
        ("IMG_1234.jpg", ["file.name"]),
        ('"red sofa"', ["tags"]),
        ('"sofa 猫"', []),
        ("so*", ["tags"]),
        ("so", []),
        ("id", ["id"]),
        ("MALMO", ["iptc.place.city"]),
        ("nothing", []),
        ("*", []),
    ],
)
def test_fields_that_carry_a_word_are_named_by_their_paths(text: str, expected: list[str]) -> None:
    assert matched_fields(parse_words(text), "my-id", METADATA, None) == expected


@pytest.mark.parametrize(
    "metadata", [{"a": [["x", {"b": ["y"]}]]}, {"a": "x", "": "y"}, {"a": {"": "x"}, "b": "y"}]
)
def test_texts_are_found_wherever_they_are(metadata: dict[str, Any]) -> None:
    assert document_of(CONTENT_ID, metadata, None).other == f"x {BREAK} y"


@pytest.mark.parametrize(
    "url",
    ["https://photos.example.com/a.jpg", " HTTP://example.com/photos ", "s3://photos/1", "file:///photos"],
)
def test_values_that_are_urls_are_not_indexed(url: str) -> None:
    metadata = {"source": url, "all": [url, "x"], "note": f"photos of {url}"}
    assert document_of(CONTENT_ID, {"source": url, "all": [url, "x"]}, None).other == "x"
    assert matched_fields(parse_words("photos"), CONTENT_ID, metadata, None) == ["note"]
