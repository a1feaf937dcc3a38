"""Error responses, retries and broken connections."""

from typing import Any

import httpx
import pytest

from diptych_client import (
    ApiError,
    BadRequest,
    Client,
    ClientError,
    InvalidCall,
    NotFound,
    NotReady,
    Overloaded,
    ServerError,
    TooLarge,
    UnexpectedAnswer,
)
from diptych_client.errors import BY_STATUS
from diptych_client.operations.managing import collections as list_collections
from diptych_client.operations.managing import create_collection
from diptych_client.steps import Answer, Sleep, Steps
from diptych_client.transport import httpx_errors_translated
from support.fake_api import FakeApi, problem


def client_answering(*replies: Any) -> Client:
    return Client(transport=FakeApi().on("GET /collections", *replies).transport())


def waits(steps: Steps[Any], *answers: Answer) -> list[float]:
    """Return the pauses of a call that receives `answers`."""
    pauses: list[float] = []
    effect = next(steps)
    for answer in answers:
        effect = steps.send(answer)
        if isinstance(effect, Sleep):
            pauses.append(effect.seconds)
            effect = steps.send(None)
    return pauses


def busy(status: int = 429, **headers: str) -> Answer:
    return Answer(status, {key.replace("_", "-"): value for key, value in headers.items()}, b"{}")


@pytest.mark.parametrize(("status", "kind"), [*BY_STATUS.items(), (418, ApiError), (500, ServerError)])
def test_every_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError) as caught:
        client_answering(problem(status, "no")).collections()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.request_id) == (status, "r-1")


def test_error_says_item_detail_and_status() -> None:
    with pytest.raises(NotFound) as caught:
        client_answering(problem(404, "no such image", "query[1]")).collections()
    assert str(caught.value) == "query[1]: no such image (HTTP 404)"
    assert caught.value.detail == "no such image"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (
            500,
            ServerError,
            r"^the answer did not come from diptych: is there a proxy in front of it\? \(HTTP 500\)$",
        ),
        (
            413,
            TooLarge,
            r"^the body was refused, but not by diptych: .* smaller limit \(HTTP 413",
        ),
        (400, BadRequest, r"^HTTP 400 \(HTTP 400\)$"),  # what ours answers to bytes that are not HTTP is bare
    ],
)
def test_answer_of_a_proxy_is_an_api_error_that_says_so(status: int, kind: type[ApiError], said: str) -> None:
    with pytest.raises(kind, match=said):
        client_answering(httpx.Response(status, text="<html>an error</html>")).collections()


def test_success_that_is_not_json_is_unexpected() -> None:
    with pytest.raises(UnexpectedAnswer, match="is this a diptych server"):
        client_answering(httpx.Response(200, text="<html>hello</html>")).collections()


def test_redirect_is_not_followed() -> None:
    with pytest.raises(UnexpectedAnswer, match="redirects"):
        client_answering(httpx.Response(302, headers={"location": "https://elsewhere"})).collections()


def test_busy_server_is_retried_after_the_time_in_retry_after() -> None:
    assert waits(list_collections(), busy(retry_after="2"), busy(503, retry_after="1")) == [2.0, 1.0]


@pytest.mark.parametrize("status", [502, 504])
def test_proxy_without_a_server_behind_it_is_retried(status: int) -> None:
    assert waits(list_collections(), *[busy(status)] * 3, busy(status, retry_after="1")) == [2, 4, 8, 1]
    with pytest.raises(ServerError):
        waits(list_collections(), *[busy(status)] * 5)
    with pytest.raises(ServerError):
        waits(create_collection("pets"), busy(status))


def test_own_time_out_is_not_retried() -> None:
    with pytest.raises(ServerError):
        waits(list_collections(), busy(504, content_type="application/problem+json", retry_after="0"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"api_key": "two\nlines"}, "api_key"),
        ({"url": "127.0.0.1:8000"}, "url"),
        ({"url": "ftp://host"}, "url"),
        ({"url": "http://host:port"}, "url"),
    ],
)
def test_client_that_cannot_be_made_names_its_argument(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidCall, match=named) as caught:
        Client(**given)
    assert "two\nlines" not in str(caught.value)


def test_client_gives_up_after_five_attempts() -> None:
    with pytest.raises(Overloaded):
        waits(list_collections(), *[busy(retry_after="0")] * 5)


@pytest.mark.parametrize("retry_after", ["", "soon", "3600", "-1", "nan", "inf"])
def test_client_does_not_guess_how_long_to_wait(retry_after: str) -> None:
    with pytest.raises(NotReady):
        waits(list_collections(), busy(503, retry_after=retry_after))


def test_every_error_of_httpx_has_a_translation() -> None:
    kinds = [kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    programming = {httpx.HTTPStatusError, httpx.CookieConflict, httpx.HTTPError}
    for kind in kinds:
        if kind in programming or issubclass(kind, httpx.StreamError):
            continue  # ours to misuse, not the network's to raise
        with pytest.raises(ClientError, match="http://there"), httpx_errors_translated("http://there"):
            raise kind("broken")
