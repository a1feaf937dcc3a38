"""What parse_json accepts, and how it names what it rejects."""

import asyncio
import json
import sys
import threading

import pytest

from diptych.errors import InvalidValue, Malformed, TooLarge
from diptych.http.parsing.json import MAX_BYTES_ON_LOOP, MAX_KEYS, MAX_VALUES, parse_json, read_json


@pytest.mark.parametrize("body", [b"{", b'{"a": 1} x'])
def test_invalid_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="not JSON"):
        parse_json(body)


def test_deep_nesting_is_malformed_not_a_crash() -> None:
    with pytest.raises(Malformed, match="too deeply"):
        parse_json(b"[" * 200_000 + b"]" * 200_000)


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1"])
def test_too_many_values_are_rejected_unparsed(value: bytes) -> None:
    with pytest.raises(TooLarge, match=f"over {MAX_VALUES} values"):
        parse_json(b"[" + (value + b",") * MAX_VALUES + value + b"]")


def test_too_many_keys_are_rejected_unparsed() -> None:
    keys = ",".join(f'"{i}":0' for i in range(MAX_KEYS + 1))
    with pytest.raises(TooLarge, match=f"over {MAX_KEYS} keys"):
        parse_json(f"{{{keys}}}")
    assert len(parse_json(f"{{{keys}}}", max_keys=MAX_KEYS + 1)) == MAX_KEYS + 1


def test_commas_and_brackets_in_strings_do_not_count() -> None:
    text = ",[{:" * MAX_VALUES + '\\"' + "," * MAX_VALUES
    assert parse_json(json.dumps([text])) == [text]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("begin", ['"', "[,", '"\\'])
def test_unterminated_strings_take_linear_time(begin: str) -> None:
    with pytest.raises((Malformed, TooLarge)):
        parse_json(begin + "," * MAX_VALUES + '\\"' * 2_000_000)


LARGEST = int(sys.float_info.max)


@pytest.mark.parametrize("number", [LARGEST, 2**53 + 1])
def test_integers_within_a_double_are_exact(number: int) -> None:
    assert parse_json(f'{{"n": {number}}}') == {"n": number}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("digits", [str(2 * LARGEST), "9" * 5_000_000])
def test_integers_beyond_a_double_are_rejected_before_conversion(digits: str) -> None:
    with pytest.raises(InvalidValue, match=f"an integer of {len(digits)} digits is beyond") as caught:
        parse_json(f'{{"filter": {{"n": {{"in": [1, {digits}]}}}}}}')
    assert caught.value.item == "filter.n.in[1]"


@pytest.mark.parametrize(("n_bytes", "on_loop"), [(MAX_BYTES_ON_LOOP, True), (MAX_BYTES_ON_LOOP + 1, False)])
def test_large_bodies_are_parsed_in_a_thread(n_bytes: int, on_loop: bool) -> None:
    thread = asyncio.run(read_json(bytearray(n_bytes), lambda _: threading.get_ident()))
    assert (thread == threading.get_ident()) is on_loop


def test_other_encodings_are_malformed_and_the_byte_is_named() -> None:
    with pytest.raises(Malformed, match="byte 1 is not"):
        parse_json(b'"\xff"')


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_numbers_that_json_does_not_have_are_invalid(number: str) -> None:
    with pytest.raises(InvalidValue, match=number) as caught:
        parse_json(f'{{"filter": {{"or": [{{"a": 1.5}}, {{"a": {number}}}]}}}}')
    assert caught.value.item == "filter.or[1].a"


@pytest.mark.parametrize(
    ("text", "item"),
    [(r'{"input": [{"text": "\ud800"}]}', "input[0].text"), (r'{"\ud800": 1}', None)],
)
def test_lone_surrogate_is_rejected_with_its_path(text: str, item: str | None) -> None:
    with pytest.raises(InvalidValue, match="lone surrogate") as caught:
        parse_json(text)
    assert caught.value.item == item
