"""A lost connection: which requests are sent again, after which pauses, and which errors come at once."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from diptych_client import Client, ConnectionLost, Unreachable
from diptych_client import async_client as async_module
from diptych_client import client as client_module
from support.fake_api import PETS, FakeApi, add_reply, embed_reply, ok, problem

PATH = "POST /collections/pets/images"


def known(request: httpx.Request) -> httpx.Response:
    return ok({"collections": [PETS]})


def failing(kind: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("broken", request=request)

    return fail


lost, refused, late = failing(httpx.ReadError), failing(httpx.ConnectError), failing(httpx.ReadTimeout)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses that clients make, which take no time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(client_module.time, "sleep", made.append)
    monkeypatch.setattr(async_module.asyncio, "sleep", sleep)
    yield made


def client_of(api: FakeApi) -> Client:
    return Client(transport=api.transport())


def test_request_whose_connection_is_lost_is_sent_again_while_the_server_starts(pauses: list[float]) -> None:
    api = FakeApi().on("GET /collections", lost, refused, lost, known)
    assert [one.name for one in client_of(api).collections()] == ["pets"]
    assert pauses == [1, 2, 4]


def test_server_that_stays_away_is_an_error_after_five_attempts(pauses: list[float]) -> None:
    api = FakeApi().on("GET /collections", lost)
    with pytest.raises(ConnectionLost, match="cannot reach"):
        client_of(api).collections()
    assert (len(api.requests), pauses) == (5, [1, 2, 4, 8])


def test_server_that_is_not_there_is_an_error_at_once(pauses: list[float]) -> None:
    api = FakeApi().on("GET /collections", refused)
    with pytest.raises(Unreachable) as caught:
        client_of(api).collections()
    assert not isinstance(caught.value, ConnectionLost)
    assert (len(api.requests), pauses) == (1, [])


def test_long_call_goes_on_after_a_restart_of_the_server(pauses: list[float]) -> None:
    api = FakeApi().on(PATH, add_reply, refused, refused, add_reply)
    outcomes = client_of(api).add([b"x"] * 100, collection="pets")
    assert [outcome.index for outcome in outcomes] == list(range(100))
    assert pauses == [1, 2]


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("POST /collections", lambda client: client.create_collection("pets")),
        ("DELETE /collections/pets/images/tom", lambda client: client.delete_image("pets", "tom")),
        ("GET /readyz", lambda client: client.ready()),
    ],
)
def test_request_that_would_be_answered_otherwise_is_not_sent_again(
    call: str, ask: Callable[[Client], object], pauses: list[float]
) -> None:
    api = FakeApi().on(call, lost)
    with pytest.raises(ConnectionLost):
        ask(client_of(api))
    assert (len(api.requests), pauses) == (1, [])


def test_busy_server_that_is_lost_is_asked_again_too(pauses: list[float]) -> None:
    busy = problem(503, "the model is being loaded", **{"retry-after": "3"})
    api = FakeApi().on("POST /embed", lost, busy, embed_reply)
    assert len(client_of(api).embed(texts=["a"]).texts) == 1
    assert pauses == [1, 3]
