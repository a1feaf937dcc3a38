"""A real Prometheus scrapes a server under load: every query of the dashboard and every rule finds data."""

import hashlib
import math
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployment.tools import DOCKER, ROOT, tool
from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.postgres import cluster
from support.queries import dashboard_queries, rules
from support.server import RunningServer, serve

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
KEY = "correct horse battery"
WITHIN_S = 120
CAT = (ROOT / "server" / "gallery" / "cat.png").read_bytes()
DOG = (ROOT / "server" / "gallery" / "dog.png").read_bytes()
STATUSES = [200, 200, 200, 200, 200, 200, 404, 415, 500]  # of what callers ask, in each round


@contextmanager
def prometheus(folder: Path, server: RunningServer, api_key: str) -> Iterator[httpx.Client]:
    """Scrapes the server every second; all else is as in the repository."""
    configuration = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(DOCKER / "prometheus" / "rules" / "*.yml")]
    (job,) = configuration["scrape_configs"]
    (folder / "api_key").write_text(api_key)
    job["authorization"]["credentials_file"] = str(folder / "api_key")
    job["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'series'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log, httpx.Client(base_url=f"http://{address}") as client:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: ready(client), "Prometheus is not ready")
            yield client
        finally:
            process.terminate()
            process.wait(timeout=30)


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.HTTPError:
        return False


def until(holds: Callable[[], Any], otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)


def values(client: httpx.Client, expression: str) -> list[float]:
    """What an instant query finds now."""
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    return [float(one["value"][1]) for one in answer["data"]["result"]]


def targets(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/v1/targets").json()["data"]["activeTargets"]
    return found


@contextmanager
def repeated(work: Callable[[], None]) -> Iterator[None]:
    """Until the end of the block, which fails with what the work failed with."""
    ended, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not ended.is_set():
                work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert errors == []


def one_of_each(client: httpx.Client, damaged: str) -> None:
    """Requests of every kind; some are refused, and the server cannot give the original of `damaged`."""
    labels = [("labels", (None, name)) for name in ("cat", "dog", f"thing {time.monotonic_ns()}")]
    answers = [
        client.post("/embed", content=CAT, headers={"Content-Type": "image/png"}),
        client.post("/embed", json={"input": [{"text": "a cat"}]}),
        client.post("/classify", files=[("image", ("cat.png", CAT)), *labels]),
        client.post("/collections/default/images?replace=true", files=[("image", ("cat.png", CAT))]),
        client.get("/search", params={"q": "cat"}),
        client.post("/v1/embeddings", json={"model": DEFAULT_MODEL, "input": "cat"}),
        client.get("/no/such/path"),
        client.post("/embed", content=b"GET", headers={"Content-Type": "image/png"}),
        client.get(f"/collections/default/images/{damaged}/original"),
    ]
    assert [answer.status_code for answer in answers] == STATUSES
    for _ in STATUSES:  # as many of supervisors: whoever counts them halves the share of errors
        assert client.get("/healthz").is_success


def silent_connection(server: RunningServer) -> None:
    """A head that never ends: refused with `header_timeout`."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        connection.settimeout(5)
        connection.recv(1000)


def damaged_image(client: httpx.Client, data_dir: Path) -> str:
    """The id of an image whose file is no longer what it was."""
    added = client.post("/collections/default/images", files=[("image", ("dog.png", DOG))])
    (file,) = data_dir.glob(f"images/??/{hashlib.sha256(DOG).hexdigest()}")
    file.write_bytes(b"something else")
    return str(added.raise_for_status().json()["outcomes"][0]["id"])


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("scraped")
    tool("prometheus")  # where it is absent, no server is started
    data, key, short = folder / "data", {"DIPTYCH_API_KEY": KEY}, {"header_timeout_s": 1}
    with (
        cluster() as database,
        serve(
            *(MODEL_REPO, DEFAULT_MODEL, data, "--store", database.url()), environment=key, constants=short
        ) as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as callers,
        prometheus(folder, server, KEY) as client,
    ):
        damaged = damaged_image(callers, data)
        with repeated(lambda: one_of_each(callers, damaged)), repeated(lambda: silent_connection(server)):
            yield client


def as_grafana_asks(expression: str) -> str:
    return expression.replace("$__rate_interval", "15s").replace("$instance", ".*")


def test_every_query_of_the_dashboard_finds_data(scraped: httpx.Client) -> None:
    asked = {query.place: as_grafana_asks(query.expression) for query in dashboard_queries()}
    for place, expression in asked.items():
        if place.startswith("annotation"):  # a start, of which there is none now: only that it can be asked
            assert values(scraped, expression) == []
            continue
        found = f"{place}: {expression} finds nothing"
        until(lambda one=expression: any(map(math.isfinite, values(scraped, one))), found)


def test_share_of_server_errors_is_that_of_what_callers_ask(scraped: httpx.Client) -> None:
    (panel,) = [query for query in dashboard_queries() if query.place == "panel 'Server errors'"]
    (alert,) = [rule["expr"].partition(" > ")[0] for rule in rules() if rule.get("alert") == "DiptychErrors"]
    share = STATUSES.count(500) / len(STATUSES)
    for expression in (as_grafana_asks(panel.expression), alert):
        until(
            lambda one=expression: values(scraped, one) == [pytest.approx(share, rel=0.2)],
            f"{expression} does not become {share:.2f}",
        )


def test_all_rules_can_be_evaluated_and_none_fires(scraped: httpx.Client) -> None:
    def evaluated() -> list[dict[str, Any]]:
        groups = scraped.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    assert {rule["name"] for rule in evaluated()} == {rule.get("alert") or rule["record"] for rule in rules()}
    until(lambda: all(rule["health"] == "ok" for rule in evaluated()), "not all rules can be evaluated")
    for recorded in [rule["record"] for rule in rules() if "record" in rule]:
        until(lambda one=recorded: values(scraped, one), f"{recorded} finds nothing")
    assert [rule["name"] for rule in evaluated() if rule.get("state") == "firing"] == []


@pytest.mark.parametrize(("key", "health", "error"), [("", "up", ""), (KEY, "down", "401")])
def test_scraper_without_the_key_is_let_in_only_where_the_server_has_none(
    tmp_path: Path, key: str, health: str, error: str
) -> None:
    tool("prometheus")
    environment = {"DIPTYCH_API_KEY": key} if key else {}
    with (
        serve(MODEL_REPO, DEFAULT_MODEL, tmp_path / "data", environment=environment) as server,
        prometheus(tmp_path, server, "not the key" if key else "") as client,
    ):
        until(lambda: [one["health"] for one in targets(client)] == [health], f"no target is {health}")
        assert error in targets(client)[0]["lastError"]
