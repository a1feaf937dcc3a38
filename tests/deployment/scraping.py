"""A real Prometheus, with the repository's configuration and rules, that scrapes servers of a test."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployment.tools import DOCKER, tool

WITHIN_S = 30
EVERY = "1s"


class Prometheus:
    """One that answers to the client."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[float]:
        """The values that an instant query finds now."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return [float(one["value"][1]) for one in answer["data"]["result"]]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, with `health` and `lastError`."""
        found: list[dict[str, Any]] = self._client.get("/api/v1/targets").json()["data"]["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Alerts and recordings, with `health` and `lastError`."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_until_scraped(self) -> None:
        """Until every target has been asked with success. AssertionError says what went wrong."""
        deadline = time.monotonic() + WITHIN_S
        while not (targets := self.targets()) or any(one["health"] != "up" for one in targets):
            assert time.monotonic() < deadline, targets
            time.sleep(0.2)


@contextmanager
def prometheus(folder: Path, servers: Sequence[str], api_key: str) -> Iterator[Prometheus]:
    """Scrapes each of the servers' URLs every second; all else is as in the repository."""
    configuration = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    configuration["rule_files"] = [str(DOCKER / "prometheus" / "rules" / "*.yml")]
    (job,) = configuration["scrape_configs"]
    key_file = folder / "api_key"
    key_file.write_text(api_key)
    assert job["authorization"].keys() == {"credentials_file"}
    job["authorization"]["credentials_file"] = str(key_file)
    job["static_configs"] = [{"targets": [url.removeprefix("http://") for url in servers]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{_free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                tool("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            _wait_until_ready(address, process)
            with httpx.Client(base_url=f"http://{address}", timeout=10) as client:
                yield Prometheus(client)
        finally:
            process.terminate()
            process.wait(timeout=WITHIN_S)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "Prometheus ended"
        try:
            if httpx.get(f"http://{address}/-/ready").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus is not ready")
