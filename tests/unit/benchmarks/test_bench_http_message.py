import pytest

from benchmarks.serving.http_message import AnswerReader, BadAnswer, Part, form, labels_part, request

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: x\r\n\r\nhello"


def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut() -> None:
    for size in (1, 7, len(ANSWER)):
        reader, pieces = AnswerReader(), [ANSWER[i : i + size] for i in range(0, len(ANSWER), size)]
        for _ in range(2):  # the connection stays open
            assert [reader.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_an_error_comes_with_its_body() -> None:
    with pytest.raises(BadAnswer, match="queue is full"):
        AnswerReader().feed(b"HTTP/1.1 429 Too Many\r\nContent-Length: 13\r\n\r\nqueue is full")


def test_an_answer_without_length_is_refused() -> None:
    with pytest.raises(BadAnswer, match="Content-Length"):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_a_request_states_the_length_of_its_body() -> None:
    message = request("/embed", b"four", "image/jpeg", "application/octet-stream")
    head, _, body = message.partition(b"\r\n\r\n")
    assert body == b"four"
    assert b"Content-Length: 4" in head.split(b"\r\n")


def test_a_form_has_files_and_fields() -> None:
    body = form([Part("image", b"\xff\xd8", "image/jpeg"), labels_part(["a", "b, c"])])
    assert body.count(b"filename=") == 1
    assert b'name="labels"\r\n\r\n["a", "b, c"]\r\n' in body
    assert body.endswith(b"--\r\n")
