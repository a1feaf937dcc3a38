"""`--push URL`: what is checked before long work, and what is said when a push fails or ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych_client import Client, PushedVersion
from diptych_training import push
from diptych_training.errors import PushFailed
from diptych_training.push import push_and_report, push_version, require_server, serve_pushed
from support.default_model import DEFAULT_MODEL
from support.fake_api import COMPARISON, MODEL, PETS, ROLLOUT, FakeApi, body, ok, problem, search_reply

URL = "http://diptych.example.org"
KEY = "correct horse"
VERSION = {"version": "1", "model": MODEL, "provider": "x", "embed_dim": 2, "default_collection": "default"}
PUSHED: dict[str, Any] = {
    "name": "mine", "version": 3, "created": True, "active": False, "n_files": 1, "n_bytes": 1000,
}  # fmt: skip
BEGUN = ROLLOUT | {"target": {"name": "mine", "version": 3}}


def found(*ids: str, cosine: float = 0.5) -> httpx.Response:
    """The answer of a search that finds these."""
    return search_reply(*({"id": id, "cosine": cosine, "metadata": {}, "links": {}} for id in ids))


def only_with_key(request: httpx.Request) -> httpx.Response:
    """Answer as a server with a key does."""
    return ok(VERSION) if "authorization" in request.headers else problem(401, "an API key is needed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "mine", "files": {"weights": {}}}))
    (tmp_path / "weights").write_bytes(b"x" * 1000)
    return tmp_path


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    api = FakeApi().on("GET /version", only_with_key)

    def client(url: str, api_key: str | None) -> Client:
        return Client(url, api_key, transport=api.transport())

    monkeypatch.setattr(push, "Client", client)
    monkeypatch.setenv("DIPTYCH_API_KEY", KEY)
    yield api
    for request in api.requests:
        assert request.url.host == "diptych.example.org"
        assert request.headers.get("authorization", "none") in (f"Bearer {KEY}", "none")


def status(policy: str | None) -> httpx.Response:
    """The answer of `/models`; without a policy, that of an older server."""
    own = {} if policy is None else {"policy": policy, "previous": None, "rollout": None}
    return ok({"models": [{"name": "tiny", "versions": [3], "active": 3}], **own})


def test_pushed_version_is_named_as_on_the_server_and_served(
    api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("POST /models/mine/versions", httpx.Response(201, json=PUSHED)).on("GET /models", status("latest"))
    api.on("POST /models/mine/versions/3/activate", httpx.Response(202, json=BEGUN))
    stays = {"scans": "2 images keep no file"}
    api.on("GET /rollouts/r1", ok(BEGUN), ok(BEGUN | {"state": "active", "stays": stays}))
    push_and_report(folder, URL)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"pushed to {URL} as mine/3",
        "mine/3 serves there now",
        "collection scans stays on the version of its vectors: 2 images keep no file",
    ]
    assert "push: " in printed.err


@pytest.mark.parametrize(
    ("policy", "pushed", "told"),
    [
        (None, {}, "that server is of an older diptych: it serves the version after a restart"),
        (
            "manual",
            {},
            "the policy of that server is manual. To serve the version: diptych models activate mine 3 --url "
            + URL,
        ),
        ("latest", {"active": True, "created": False}, "mine/3 serves there already"),
    ],
)
def test_version_is_not_activated_where_the_server_does_not_let_itself_be_moved(
    api: FakeApi, policy: str | None, pushed: dict[str, bool], told: str
) -> None:
    api.on("GET /models", status(policy))
    api.on("POST /models/mine/versions/3/activate", problem(404, "Not Found"))
    said: list[str] = []
    is_served = serve_pushed(PushedVersion(**{**PUSHED, **pushed}), URL, KEY, said.append)
    assert (said, is_served) == ([told], "active" in pushed)
    assert api.calls() == ["GET /models"]


@pytest.mark.parametrize(("state", "ended"), [("failed", "failed"), ("cancelled", "was cancelled")])
def test_rollout_that_does_not_end_well_is_a_failed_push(api: FakeApi, state: str, ended: str) -> None:
    api.on("GET /models", status("latest"))
    api.on("POST /models/mine/versions/3/activate", httpx.Response(202, json=BEGUN))
    api.on("GET /rollouts/r1", ok(BEGUN | {"state": state, "reason": "no room"}))
    said = rf"mine/3 is on {URL}, but does not serve: its rollout {ended}: no room\. .*models activate mine 3"
    with pytest.raises(PushFailed, match=said):
        serve_pushed(PushedVersion(**PUSHED), URL, KEY)


def test_push_of_a_version_that_loses_labels_says_how_to_serve_it_on_that_server(api: FakeApi) -> None:
    api.on("GET /models", status("latest"))
    api.on("POST /models/mine/versions/3/activate", httpx.Response(202, json=BEGUN))
    command = "diptych models activate mine 3 --precision fp32 --despite-labels"
    held = {
        "state": "failed",
        "reason": f"lost. To serve it all the same: {command}",
        "comparison": COMPARISON,
    }
    api.on("GET /rollouts/r1", ok(BEGUN | held))
    with pytest.raises(PushFailed) as failed:
        serve_pushed(PushedVersion(**PUSHED), URL, KEY)
    assert str(failed.value).endswith(
        f"{command} (with --url {URL}). What would change: diptych models compare --url {URL}"
    )
    (activation,) = [one for one in api.requests if one.url.path.endswith("activate")]
    assert body(activation) == {}


def test_queries_are_searched_before_and_after_in_the_collection_that_knows_most_of_them(
    api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("POST /models/mine/versions", httpx.Response(201, json=PUSHED)).on("GET /models", status("latest"))
    api.on("POST /models/mine/versions/3/activate", ok(BEGUN | {"state": "active"}))
    others: list[dict[str, Any]] = [
        {"name": "large", "n_images": 1000},
        {"name": "broken", "state": "failed"},
        {"name": "elsewhere", "model": "another"},
        {"name": "vectors", "stays": "14 rows keep no image"},
    ]
    api.on("GET /collections", ok({"collections": [PETS, *(PETS | other for other in others)]}))
    in_large, in_pets = found("car"), found("new", "old", cosine=0.6)
    api.on("POST /search", in_large, found("old"), in_large, in_pets)
    push_and_report(folder, URL, ["a heron"])
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "searches on the server, in its collection pets:",
        "“a heron”",
        "  before  old",
        "  after   new, old",
    ]
    searches = [body(one)["collection"] for one in api.requests if one.url.path == "/search"]
    assert searches == ["large", "pets"] * 2


def test_failed_push_says_what_is_published_and_how_to_repeat_it(api: FakeApi, folder: Path) -> None:
    api.on("POST /models/mine/versions", problem(507, "the disk is full"))
    said = rf"{folder} is published, but was not pushed to {URL}: the disk is full \(HTTP 507\)"
    with pytest.raises(
        PushFailed, match=rf"{said}\. To repeat the push: diptych models push {folder} --url {URL}"
    ):
        push_version(folder, URL, KEY)


def test_server_is_asked_before_the_long_work(api: FakeApi) -> None:
    require_server("mine", URL, KEY)
    assert set(api.calls()) == {"GET /version", "GET /keys"}
    api.on("GET /version", problem(401, "an API key is needed"))
    with pytest.raises(PushFailed, match=rf"--push {URL}: an API key is needed"):
        require_server("mine", URL, KEY)


def test_server_that_answers_without_a_key_is_refused_before_the_long_work(api: FakeApi) -> None:
    api.on("GET /version", ok(VERSION))
    said = rf"--push {URL}: this server was started without an API key.*starts it again with DIPTYCH_API_KEY"
    with pytest.raises(PushFailed, match=said):
        require_server("mine", URL, KEY)


def test_missing_key_and_the_name_of_the_default_model_need_no_server(api: FakeApi) -> None:
    with pytest.raises(PushFailed, match="set DIPTYCH_API_KEY"):
        require_server("mine", URL, None)
    with pytest.raises(PushFailed, match=rf"'{DEFAULT_MODEL}' is kept for the default model.*--name"):
        require_server(DEFAULT_MODEL, URL, KEY)
    with pytest.raises(PushFailed, match="--push ftp://x: url 'ftp://x' must look like"):
        require_server("mine", "ftp://x", KEY)
    assert api.requests == []
