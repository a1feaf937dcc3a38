"""Hostile texts and request bodies, and the statuses that a server may return."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from support.default_model import DEFAULT_MODEL

JSON = "application/json"
BAD_FORM = "multipart/form-data; boundary=b"


@dataclass(frozen=True)
class HostileBody:
    """A POST to `path`. `item` is the item that the error must name, if any."""

    name: str
    path: str
    body: bytes
    content_type: str
    status: int
    item: str | None = None


@cache
def strange_texts() -> dict[str, str]:
    """Return unusual texts for which the server must return a vector."""
    every_control = "".join(map(chr, range(32)))
    return {
        "nothing": "",
        "NUL": "a\0b",
        "every control character": every_control + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
        "terminal escapes": "\x1b[31m\x1b]0;title\x07red\x1b[0m",
        "bidirectional overrides": "\u202egnp.exe\u202c \u2066hidden\u2069",
        "no characters": "\ufffe\uffff\ufdd0",
        "private use": "\ue000\U000f0000\U0010ffff",
        "zero width": "re\u200bd \ufeff\u00ad\u2060car" * 50,
        "a thousand accents on one letter": "a" + "\u0301" * 1_000,
        "9995 accents that are out of order": "a" + "\u0301\u0323\u0302\u0327\u0345" * 1_999,
        "10000 vowels made of marks": "\u0f73" * 10_000,
        "accents in a broken encoding": ("\u0301\u0323" * 2_500).encode().decode("latin-1"),
        "accents as escapes": "&#769;&#803;" * 800,
        "5000 lines of one letter": "é\n" * 5_000,
        "5000 ends of lines": "\r\n" * 5_000,
        "words of two encodings": "Ã© 中 " * 2_000,
        "a family of emoji": "👩‍👩‍👧‍👦🏴󠁧󠁢󠁳󠁣󠁴󠁿" * 50,
        "surrogates as a pair": "\U0001f600",
        "one word of 10000 letters": "x" * 10_000,
        "10000 spaces": " " * 10_000,
        "10000 newlines": "\n" * 10_000,
        "markup": "<script>alert(1)</script>" * 100,
        "nested ampersands": "&" + "amp;" * 2_000,
        "nested numeric ampersands": "&" + "#38;" * 2_000,
        "nested ampersands before a long text": "&" + "amp;" * 64 + "é中 " * 3_200,
        "nested ampersands of escaped letters": "&" + "&#97;mp;" * 600 + "é中 " * 1_700,
        "nested ampersands behind control characters": "&" + "\x01amp;" * 1_000 + "é中 " * 1_600,
        "a character of 9000 digits": "&#" + "9" * 9_000 + ";",
        "a character of 9000 zeros": "&#" + "0" * 9_000 + "65;",
        "a hexadecimal character of 9000 digits": "&#x" + "f" * 9_000 + ";",
        "broken encodings": "ÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢" * 200,
        "special tokens": "<|endoftext|><|startoftext|></s><pad>[CLS]" * 100,
        "sql": "'; DROP TABLE images; --",
        "a format string": "{0.__class__.__mro__} %s %n ${jndi:ldap://x} {{7*7}}",
        "json": '{"input": [{"text": "a"}]}',
        "a path": "../../../../etc/passwd",
        "dotted capitals": "İ" * 1_000,
    }


_PIECES = (
    *(
        "&",
        "amp;",
        "AMP;",
        "#38;",
        "&#",
        "&#x",
        ";",
        "9" * 5_000,
        "0" * 5_000,
        "&lt;",
        "&nbsp;",
        "&NotAnEntity;",
    ),
    *("Ã©", "â€™", "ÃƒÂ¢", "\x92", "\x80\x99", "<", ">", "\n", "\r\n", "\u2028", "\x85", "\t", " " * 50),
    *(
        "\0",
        "\x1b[31m",
        "\x1b]0;",
        "\u202e",
        "\ufeff",
        "\ufffe",
        "\u0301" * 20,
        "\u0345",
        "\u200d",
        "👩",
        "🏽",
    ),
    *(
        "ﬃ",
        "Ａ",
        "ſ",
        "İ",
        "ς",
        "Σ",
        "\u1112\u1161\u11ab",
        "猫",
        "\U000e0067",
        "\U0010ffff",
        "\ue000",
        "\U0001f600",
    ),
    *("<|endoftext|>", "</s>", "'s", "_", "-", "x" * 300, "1" * 50, "{}", "\\", "%s", "''", '"'),
)


def random_text(seed: int) -> str:
    """Return a random sequence of characters and of pieces with a meaning for cleaners and tokenizers."""
    rng = random.Random(seed)
    pieces = [
        rng.choice(_PIECES) if rng.random() < 0.7 else _random_character(rng) * rng.choice((1, 1, 1, 30))
        for _ in range(rng.choice((1, 3, 10, 30)))
    ]
    return ("".join(pieces) * rng.choice((1, 1, 1, 5)))[:10_000]


def _random_character(rng: random.Random) -> str:
    """Return any character, which may be a lone surrogate."""
    return chr(rng.choice((rng.randrange(256), rng.randrange(0x10000), rng.randrange(0x110000))))


def hostile_bodies() -> Iterator[HostileBody]:
    """Return all bodies that the server must reject."""
    yield from _encodings()
    yield from _json()
    yield from _deep()
    yield from _large()
    yield from _labels()
    yield from _forms()


def _embed(name: str, body: bytes, status: int, item: str | None = None) -> HostileBody:
    return HostileBody(name, "/embed", body, JSON, status, item)


def _encodings() -> Iterator[HostileBody]:
    good = '{"input": [{"text": "a"}]}'
    yield HostileBody("text that is no UTF-8", "/embed", b"\xff\xfe", "text/plain", 400, "input[0]")
    yield HostileBody("surrogates in UTF-8", "/embed", b"a\xed\xa0\x80", "text/plain", 400, "input[0]")
    yield HostileBody("overlong UTF-8", "/embed", b"\xc0\xaf", "text/plain", 400, "input[0]")
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        yield _embed(f"JSON in {encoding}", good.encode(encoding), 400)
    yield _embed("JSON with surrogates in UTF-8", b'{"input": [{"text": "\xed\xa0\x80"}]}', 400)
    for escape in (r"\ud800", r"\udfff", r"\udc00\ud800", r"a\ud83dz"):
        body = f'{{"input": [{{"text": "a"}}, {{"text": "{escape}"}}]}}'
        yield _embed(f"lone surrogate {escape}", body.encode(), 422, "input[1].text")
    labels = rb'{"images": ["data:,"], "labels": ["a", "\ud800"]}'
    yield HostileBody("lone surrogate as a label", "/classify", labels, JSON, 422, "labels[1]")
    yield HostileBody(
        "lone surrogate as a query", "/search", rb'{"query": {"text": "\udead"}}', JSON, 422, "query.text"
    )
    openai = b'{"model": "%s", "input": "\\ud800"}' % DEFAULT_MODEL.encode()
    yield HostileBody("lone surrogate in /v1", "/v1/embeddings", openai, JSON, 422, "input")
    yield _embed("lone surrogate as a key", rb'{"input": [{"text": "a"}], "\ud800": 1}', 422)


def _json() -> Iterator[HostileBody]:
    bodies = {
        "nothing": b"",
        "half": b'{"input": [{"text": "a',
        "two values": b'{"input": []} {"input": []}',
        "a trailing comma": b'{"input": [{"text": "a"},]}',
        "single quotes": b"{'input': []}",
        "control characters in a string": b'{"input": [{"text": "a\x01b"}]}',
        "an unknown escape": rb'{"input": [{"text": "\x41"}]}',
    }
    for name, body in bodies.items():
        yield _embed(f"JSON: {name}", body, 400)
    wrong = {
        "NaN": b'{"input": [{"text": NaN}]}',
        "Infinity": b'{"input": -Infinity}',
        "beyond a double": b'{"input": 1e999}',
        "an integer of 5000 digits": b'{"input": ' + b"1" * 5_000 + b"}",
        "null": b'{"input": null}',
        "a number as text": b'{"input": [{"text": 1}]}',
        "a list as text": b'{"input": [{"text": ["a"]}]}',
        "__proto__": b'{"input": [{"text": "a"}], "__proto__": {"a": 1}}',
        "no list": b'{"input": {"0": {"text": "a"}, "length": 1}}',
    }
    for name, body in wrong.items():
        yield _embed(f"JSON: {name}", body, 422)


def _deep() -> Iterator[HostileBody]:
    for depth in (100_000, 1_900_000):
        yield _embed(f"{depth} lists", b"[" * depth, 400)
        yield _embed(f"{depth} objects", b'{"a":' * depth, 400 if depth < 200_000 else 413)


def deep_bodies() -> Iterator[tuple[str, bytes]]:
    """Return (path, body) nested about as deep as the parser allows. None may cause a 500."""
    fields = {
        "/embed": '{"input": %s}',
        "/classify": '{"images": ["data:,"], "labels": %s}',
        "/search": '{"query": {"text": "a"}, "filter": %s}',
        "/v1/embeddings": f'{{"model": "{DEFAULT_MODEL}", "input": %s}}',
        "/hf/feature-extraction": '{"inputs": %s}',
        "/hf/zero-shot-image-classification": '{"inputs": "data:,", "parameters": %s}',
        "/collections": '{"name": %s}',
    }
    for path, field in fields.items():
        for depth in range(5, 1_010, 25):
            for opening, closing in (("[", "]"), ('{"and":[', "]}"), ('{"a":', "}")):
                for inside in ("1", r'"\ud83d\ude00"', r'"\ud800"'):
                    yield path, (field % (opening * depth + inside + closing * depth)).encode()


def _large() -> Iterator[HostileBody]:
    text = "x" * 10_000_000
    yield _embed("10 MB of text", json.dumps({"input": [{"text": text}]}).encode(), 413, "input[0]")
    escaped = '{"input": [{"text": "' + r"\u0000" * 1_600_000 + '"}]}'
    yield _embed("10 MB of escapes", escaped.encode(), 413, "input[0]")
    yield HostileBody("10 MB of plain text", "/embed", text.encode(), "text/plain", 413, "input[0]")
    openai = json.dumps({"model": DEFAULT_MODEL, "input": ["a", text]}).encode()
    yield HostileBody("10 MB in /v1", "/v1/embeddings", openai, JSON, 413, "input[1]")
    query = json.dumps({"query": [{"text": "a"}, {"text": text}]}).encode()
    yield HostileBody("10 MB as a query", "/search", query, JSON, 413, "query[1]")
    yield _embed("a key of 10 MB", json.dumps({"input": [{"text": "a"}], text: 1}).encode(), 422)
    yield _embed("a million unknown keys", _keys(1_000_000), 413)
    yield _embed("a million items", b'{"input": [' + b"1," * 1_000_000 + b"1]}", 413, "input")
    yield _embed("three million values", b"[" + b"[]," * 3_000_000 + b"1]", 413)
    yield _embed("257 texts", json.dumps({"input": [{"text": "a"}] * 257}).encode(), 413, "input")
    number = b'{"input": [{"text": 0.' + b"1" * 10_000_000 + b"}]}"
    yield _embed("a number of 10 MB", number, 422, "input[0]")


def _keys(n: int) -> bytes:
    return b'{"input": [{"text": "a"}],' + b",".join(b'"%d":1' % i for i in range(n)) + b"}"


def _labels() -> Iterator[HostileBody]:
    def classify(name: str, status: int, item: str | None, **given: object) -> HostileBody:
        body = json.dumps({"images": ["data:,"], **given}).encode()
        return HostileBody(name, "/classify", body, JSON, status, item)

    million = [f"label {i}" for i in range(1_000_000)]
    yield classify("a million labels", 413, "labels", labels=million)
    yield classify("a million templates", 413, "templates", labels=["a"], templates=million)
    yield classify("a label of 10 MB", 413, "labels[0]", labels=["x" * 10_000_000])
    yield classify("a label of no text", 422, "labels[1]", labels=["a", 5])
    yield classify("no labels", 422, "labels", labels=[])
    field = b'--b\r\nContent-Disposition: form-data; name="labels"\r\n\r\n'
    end = b"\r\n--b--\r\n"
    as_json = field + json.dumps(million).encode() + end
    yield HostileBody("a million labels in one field", "/classify", as_json, BAD_FORM, 422, "images")
    repeated = b"\r\n".join([field + b"a"] * 200_000) + end
    yield HostileBody("200000 fields of labels", "/classify", repeated, BAD_FORM, 413)
    deep = field + b"[" * 900 + b"]" * 900 + end
    yield HostileBody("labels as 900 lists", "/classify", deep, BAD_FORM, 422, "images")


def _forms() -> Iterator[HostileBody]:
    head, end = b"--b\r\nContent-Disposition: form-data; name=", b"\r\n--b--\r\n"
    text = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
    bodies = {
        "no form": (b"hello", 400),
        "nothing": (b"", 400),
        "no end": (text + b"a", 400),
        "no name": (b"--b\r\nContent-Disposition: form-data\r\n\r\na" + end, 400),
        "no headers": (b"--b\r\n\r\na" + end, 400),
        "a name that is no UTF-8": (head + b'"\xff"\r\n\r\na' + end, 400),
        "a name of 1 MB": (head + b'"' + b"n" * 1_000_000 + b'"\r\n\r\na' + end, 400),
        "a header of 5 MB": (b"--b\r\nX-A: " + b"x" * 5_000_000 + b"\r\n" + text[5:] + b"a" + end, 400),
        "300 texts": (b"\r\n".join([text + b"a"] * 300) + end, 413),
        "text that is no UTF-8": (text + b"\xff" + end, 400),
        "two options": ((head + b'"encoding_format"\r\n\r\nfloat\r\n') * 2 + text + b"a" + end, 422),
    }
    for name, (body, status) in bodies.items():
        yield HostileBody(f"form: {name}", "/embed", body, BAD_FORM, status)
    yield HostileBody("form without a boundary", "/embed", text + b"a" + end, "multipart/form-data", 400)
    long = "multipart/form-data; boundary=" + "b" * 5_000
    yield HostileBody("form, a boundary of 5000 bytes", "/embed", b"--bb", long, 400)
