"""A real Prometheus scrapes a server under load: every query of the dashboard and every rule finds data."""

import hashlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deployment.scraping import Prometheus, prometheus
from deployment.tools import ROOT
from support.queries import Query, dashboard_queries, rules
from support.server import RunningServer, serve

pytestmark = pytest.mark.long
KEY = "correct horse battery"
WITHIN_S = 120
CAT = (ROOT / "server" / "gallery" / "cat.png").read_bytes()
DOG = (ROOT / "server" / "gallery" / "dog.png").read_bytes()
STATUSES = [200, 200, 200, 200, 200, 200, 404, 415, 500]  # of what callers ask, in each round


@contextmanager
def load(server: RunningServer, key: str, damaged: str) -> Iterator[None]:
    """Requests of every kind, one after the other, until the end of the block; some of them are refused.

    One asks for the image `damaged`, which the server cannot give.
    """
    ended = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
            while not ended.is_set():
                try:
                    one_of_each(client, damaged)
                except BaseException as error:
                    errors.append(error)
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert errors == []


def add_damaged(server: RunningServer, key: str, data_dir: Path) -> str:
    """The id of an image whose file is no longer what it was."""
    headers = {"Authorization": f"Bearer {key}"}
    files = [("image", ("dog.png", DOG))]
    added = httpx.post(f"{server.url}/collections/default/images", headers=headers, files=files, timeout=30)
    assert added.is_success, added.text
    (file,) = data_dir.glob(f"images/??/{hashlib.sha256(DOG).hexdigest()}")
    file.write_bytes(b"something else")
    return str(added.json()["outcomes"][0]["id"])


def one_of_each(client: httpx.Client, damaged: str) -> None:
    labels = [("labels", (None, name)) for name in ("cat", "dog", f"thing {time.monotonic_ns()}")]
    statuses = [
        client.post("/embed", content=CAT, headers={"Content-Type": "image/png"}),
        client.post("/embed", json={"input": [{"text": "a cat"}]}),
        client.post("/classify", files=[("image", ("cat.png", CAT)), *labels]),
        client.post("/collections/default/images?replace=true", files=[("image", ("cat.png", CAT))]),
        client.get("/search", params={"q": "cat"}),
        client.post("/v1/embeddings", json={"model": "pictograms", "input": "cat"}),
        client.get("/no/such/path"),
        client.post("/embed", content=b"GET", headers={"Content-Type": "image/png"}),
        client.get(f"/collections/default/images/{damaged}/original"),
    ]
    assert [answer.status_code for answer in statuses] == STATUSES
    for _ in STATUSES:  # as many of supervisors: whoever counts them halves the share of errors
        assert client.get("/healthz").is_success


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("scraped")
    impatient = ("--header-timeout-s", "1")
    with (
        serve(
            ROOT / "model_repo",
            "pictograms",
            folder / "data",
            *impatient,
            environment={"DIPTYCH_API_KEY": KEY},
        ) as server,
        prometheus(folder, [server.url], KEY) as running,
        load(server, KEY, add_damaged(server, KEY, folder / "data")),
        silent_connections(server),
    ):
        running.wait_until_scraped()
        yield running


@contextmanager
def silent_connections(server: RunningServer) -> Iterator[None]:
    """Heads that never end, a few a second: refused with `header_timeout`."""
    ended = threading.Event()
    host, port = server.url.removeprefix("http://").split(":")

    def begin() -> None:
        while not ended.wait(0.5):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
                connection.settimeout(5)
                connection.recv(1000)

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def as_grafana_asks(expression: str) -> str:
    return expression.replace("$__rate_interval", "15s").replace("$instance", ".*")


@pytest.mark.timeout(WITHIN_S + 60)
@pytest.mark.parametrize("query", dashboard_queries(), ids=lambda query: query.place)
def test_query_of_the_dashboard_finds_data(query: Query, scraped: Prometheus) -> None:
    deadline = time.monotonic() + WITHIN_S
    expression = as_grafana_asks(query.expression)
    if query.place.startswith("annotation"):  # a start, of which there is none now: only that it can be asked
        assert scraped.query(expression) == []
        return
    while not (found := scraped.query(expression)) or not any(math.isfinite(value) for value in found):
        assert time.monotonic() < deadline, f"{query.place}: {expression} finds {found}"
        time.sleep(0.5)


@pytest.mark.timeout(WITHIN_S + 60)
def test_share_of_server_errors_is_that_of_what_callers_ask(scraped: Prometheus) -> None:
    (panel,) = [query for query in dashboard_queries() if query.place == "panel 'Server errors'"]
    (alert,) = [rule["expr"].partition(" > ")[0] for rule in rules() if rule.get("alert") == "DiptychErrors"]
    deadline = time.monotonic() + WITHIN_S
    share = STATUSES.count(500) / len(STATUSES)
    for expression in (as_grafana_asks(panel.expression), alert):
        while not (found := scraped.query(expression)) or found != [pytest.approx(share, rel=0.2)]:
            assert time.monotonic() < deadline, f"{expression} finds {found}"
            time.sleep(0.5)


def test_all_rules_can_be_evaluated_and_none_fires(scraped: Prometheus) -> None:
    assert {rule["name"] for rule in scraped.rules()} == {
        rule.get("alert") or rule["record"] for rule in rules()
    }
    recorded = [rule["record"] for rule in rules() if "record" in rule]
    deadline = time.monotonic() + WITHIN_S
    while any(rule["health"] != "ok" for rule in scraped.rules()) or not all(map(scraped.query, recorded)):
        assert time.monotonic() < deadline, scraped.rules()
        time.sleep(0.5)
    assert [rule["name"] for rule in scraped.rules() if rule.get("state") == "firing"] == []


def test_server_without_a_key_is_scraped_with_an_empty_key_file(tmp_path: Path) -> None:
    with (
        serve(ROOT / "model_repo", "pictograms", tmp_path / "data") as server,
        prometheus(tmp_path, [server.url], "") as running,
    ):
        running.wait_until_scraped()
        assert running.query("up") == [1]
        assert running.query("diptych_ready") == [1]


def test_wrong_key_is_seen(tmp_path: Path) -> None:
    with (
        serve(
            ROOT / "model_repo", "pictograms", tmp_path / "data", environment={"DIPTYCH_API_KEY": KEY}
        ) as server,
        prometheus(tmp_path, [server.url], "not the key") as running,
    ):
        deadline = time.monotonic() + WITHIN_S
        while not (targets := running.targets()) or targets[0]["health"] != "down":
            assert time.monotonic() < deadline, targets
            time.sleep(0.2)
        assert "401" in targets[0]["lastError"]
