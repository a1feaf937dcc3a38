"""`diptych serve` as a process: starting, failing to start, and stopping."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from diptych.adapters.files.data_lock import DataLock
from support.callers import is_refused, wait_until
from support.pictures import picture
from support.server import RunningServer, log_lines, serve, start
from support.tiny_bundle import TINY, write_tiny_bundle


def refusal(
    model_repo: Path,
    model: str,
    data_dir: Path,
    *flags: str,
    status: int = 1,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the log of a server that must fail to start."""
    process, log_file = start(model_repo, model, data_dir, *flags, environment=environment)
    assert process.wait(timeout=60) == status
    return log_file.read_text()


@contextmanager
def half_sent(server: RunningServer, length: int, begin: bytes) -> Iterator[http.client.HTTPConnection]:
    """Open a POST to /embed whose body has begun and then pauses."""
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)) as connection:
        connection.putrequest("POST", "/embed")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(length))
        connection.endheaders(begin)
        yield connection


def wait_until_let_in(server: RunningServer) -> None:
    """Wait until earlier bytes have been read: later requests have been answered."""
    for _ in range(2):
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def ask_embed(server: RunningServer, body: str) -> httpx.Response:
    return httpx.post(f"{server.url}/embed", content=body, headers={"Content-Type": "application/json"})


def test_log_is_json_only_and_names_the_model_and_the_url(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path, "--log-format", "json") as server:
        httpx.get(f"{server.url}/search", params={"q": "private words"})
        assert server.stop() == 0
    ready = next(line for line in server.log() if line["message"] == "ready")
    assert {"model": TINY, "version": 1, "precision": "fp32", "url": server.url}.items() <= ready.items()
    assert ready["provider"] == "CPUExecutionProvider"
    assert ready["data_dir"] == str(tmp_path)
    access = [line for line in server.log() if line["logger"] == "diptych.access"]
    assert [(line["route"], line["status"]) for line in access] == [("/search", 200)]
    assert "private" not in server.log_file.read_text()
    assert past_the_log(server) == []


def past_the_log(server: RunningServer) -> list[str]:
    """Return the lines of the output that are not log lines."""
    return [line for line in server.log_file.read_text().splitlines() if not line.startswith("{")]


def printed(server: RunningServer) -> list[str]:
    """Return the three lines that the server prints once it is ready and its gallery is loaded."""
    deadline = time.monotonic() + 30
    while len(lines := past_the_log(server)) < 3:
        assert time.monotonic() < deadline, server.log_file.read_text()
        time.sleep(0.05)
    return lines


def write_gallery(folder: Path, *colours: str) -> Path:
    folder.mkdir()
    for colour in colours:
        (folder / f"{colour}.png").write_bytes(picture(colour))
    lines = [{"file": f"{c}.png", "id": c, "metadata": {"name": c}} for c in colours]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.parametrize(
    "flags", [pytest.param([], marks=pytest.mark.long), ["--host", "0.0.0.0", "--api-key", "a key of tests"]]
)
def test_commands_that_a_ready_server_prints_work_as_printed(
    model_repo: Path, tmp_path: Path, flags: list[str]
) -> None:
    gallery = write_gallery(tmp_path / "it's a gallery", "red", "blue")
    with serve(model_repo, TINY, tmp_path / "data", "--gallery", str(gallery), *flags) as server:
        where, curl, add = printed(server)
        port = urlsplit(server.url).port
        assert f"http://127.0.0.1:{port} " in where
        key = {"DIPTYCH_API_KEY": "a key of tests"} if flags else {}
        environment = {"PATH": os.environ["PATH"], **key}
        found = subprocess.check_output(curl, shell=True, env=environment)
        assert {hit["id"] for hit in json.loads(found)["hits"]} == {"red", "blue"}
        added = subprocess.check_output(add, shell=True, env=environment, text=True, cwd=tmp_path)
        assert added == "default: 1 created, 0 replaced, 0 unchanged, 0 failed\n"
    assert "a key of tests" not in server.log_file.read_text()
    assert ("DIPTYCH_API_KEY" in where) == bool(flags)


def test_server_without_a_gallery_prints_a_command_for_vectors(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path) as server:
        _, curl, add = printed(server)
        assert json.loads(subprocess.check_output(curl, shell=True))["data"][0]["index"] == 0
        assert add.endswith(f"add --url {server.url} FOLDER")


def test_request_in_flight_is_finished_after_sigterm(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path) as server:
        body = json.dumps({"input": [{"text": "red"}]}).encode()
        with half_sent(server, len(body), body[:5]) as slow:
            wait_until_let_in(server)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refused(server))
            slow.send(body[5:])
            answer = slow.getresponse()
            assert (answer.status, len(json.loads(answer.read())["data"])) == (200, 1)
        assert server.process.wait(timeout=30) == 0


@pytest.mark.long
def test_endless_request_is_cut_off_after_the_grace_period(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path, "--grace-s", "1") as server, half_sent(server, 100, b"{"):
        wait_until_let_in(server)
        assert server.stop(signal.SIGINT) == 0


def test_stalled_body_is_a_408_and_a_too_large_one_a_413(model_repo: Path, tmp_path: Path) -> None:
    flags, short = ["--max-body-bytes", "1000"], {"body_timeout_s": 0.3}
    with serve(model_repo, TINY, tmp_path, *flags, constants=short) as server:
        with half_sent(server, 100, b"{") as slow:
            assert slow.getresponse().status == 408
        assert httpx.post(f"{server.url}/embed", json={"input": "x" * 2000}).status_code == 413
        chunks = (b"x" * 100 for _ in range(100))  # no Content-Length: counted while it comes
        counted = httpx.post(
            f"{server.url}/embed", content=chunks, headers={"Content-Type": "application/json"}
        )
        assert counted.status_code == 413


def test_disconnecting_caller_does_not_harm_the_server(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path) as server:
        address = urlsplit(server.url)
        for _ in range(5):
            with socket.create_connection((address.hostname, address.port)) as gone:
                gone.sendall(b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{")
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0
    assert [line for line in server.log() if line["level"] == "error"] == []


def test_many_callers_at_once_all_get_their_own_answer(model_repo: Path, tmp_path: Path) -> None:
    wrong: list[str] = []

    def ask(url: str, colour: str) -> None:
        with httpx.Client() as client:
            for _ in range(10):
                parts = [("image", ("x", picture(colour))), ("labels", (None, '["red", "green", "blue"]'))]
                answer = client.post(f"{url}/classify", files=parts).json()
                if answer["data"][0]["predictions"][0]["label"] != colour:
                    wrong.append(colour)

    with serve(model_repo, TINY, tmp_path) as server:
        threads = [
            threading.Thread(target=ask, args=(server.url, colour)) for colour in ["red", "green", "blue"] * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_gallery_is_loaded_once_and_follows_its_folder(model_repo: Path, tmp_path: Path) -> None:
    gallery = write_gallery(tmp_path / "gallery", "red", "blue")
    flags = ["--gallery", str(gallery), "--default-collection", "gallery"]
    counts = []
    for change in (None, None, picture("green")):
        if change is not None:
            (gallery / "red.png").write_bytes(change)
        with serve(model_repo, TINY, tmp_path / "data", *flags) as server:
            server.wait_until_gallery_is_filled(2)
            hits = httpx.get(f"{server.url}/search", params={"q": "blue"}).json()["hits"]
            assert hits[0]["metadata"] == {"name": "blue"}
            server.stop()
        done = next(line for line in server.log() if line["message"] == "the gallery is loaded")
        counts.append({name: done[name] for name in ("created", "unchanged", "replaced") if name in done})
    assert counts == [{"created": 2}, {"unchanged": 2}, {"replaced": 1, "unchanged": 1}]


def test_failed_start_prints_one_line_and_exits_with_1(model_repo: Path, tmp_path: Path) -> None:
    log = refusal(model_repo, "unheard-of", tmp_path)
    assert "it holds tiny: choose with --model" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--version", "7"], 1, "has no version 7, only 1"),
        (["--max-image-px", "100000000"], 2, "error: --max-image-px: "),
        (["--api-key", "schlüssel-ü"], 2, "error: --api-key: must be printable ASCII"),
    ],
)
def test_invalid_setting_is_refused_before_listening(
    model_repo: Path, tmp_path: Path, flags: list[str], status: int, words: str
) -> None:
    log = refusal(model_repo, TINY, tmp_path, *flags, status=status)
    assert words in log
    assert "listening" not in log
    assert "Traceback" not in log


def test_misspelt_variable_stops_the_start_and_its_value_is_not_shown(
    model_repo: Path, tmp_path: Path
) -> None:
    given = {"DIPTYCH_APIKEY": "correct horse"}
    log = refusal(model_repo, TINY, tmp_path, environment=given, status=2)
    assert log.startswith(
        "diptych serve: error: DIPTYCH_APIKEY is not a setting, did you mean DIPTYCH_API_KEY?"
    )
    assert "horse" not in log


@pytest.mark.long
def test_unknown_variable_is_one_warning_unless_kubernetes_set_it(model_repo: Path, tmp_path: Path) -> None:
    given = {"DIPTYCH_COLOUR": "correct horse", "DIPTYCH_PORT": "tcp://10.96.0.7:8000"}
    with serve(model_repo, TINY, tmp_path, environment=given) as server:
        assert server.stop() == 0
    warnings = [line["message"] for line in server.log() if line["level"] == "warning"]
    assert warnings == ["DIPTYCH_COLOUR is not a setting of the server and has no effect"]
    assert "horse" not in server.log_file.read_text()


def test_bodies_of_all_callers_share_one_budget(model_repo: Path, tmp_path: Path) -> None:
    flags = ["--max-body-bytes", "1000", "--max-inflight-body-bytes", "1000"]
    with (
        serve(model_repo, TINY, tmp_path, *flags) as server,
        half_sent(server, 900, b"{" + b" " * 800),
    ):
        body = json.dumps({"input": [{"text": "x" * 300}]})
        deadline = time.monotonic() + 30
        while (answer := ask_embed(server, body)).status_code == 200:  # until the half has arrived
            assert time.monotonic() < deadline
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert httpx.post(f"{server.url}/embed", json={"input": [{"text": "x"}]}).status_code == 200
        assert 'diptych_rejected_total{reason="bodies_full"}' in httpx.get(f"{server.url}/metrics").text


@pytest.mark.long
def test_second_server_on_one_data_folder_names_the_first(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path) as first:
        other = tmp_path / "second"
        log = refusal(model_repo, TINY, other, "--data-dir", str(tmp_path))
    assert f"in use by process {first.process.pid} on {socket.gethostname()} since 20" in log


def test_data_folder_in_use_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    with (tmp_path / "repo" / TINY / "1" / "text_encoder.onnx").open("ab") as file:
        file.write(b"x")  # which would end the process, too
    lock = DataLock(tmp_path / "data")
    log = refusal(tmp_path / "repo", TINY, tmp_path / "data")
    lock.close()
    assert f"cannot serve: data folder {tmp_path / 'data'} is in use by process {os.getpid()} on " in log
    assert "text_encoder.onnx" not in log


def test_port_in_use_is_reported_before_the_model_is_loaded(model_repo: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        log = refusal(model_repo, TINY, tmp_path, "--port", str(port))
    assert f"cannot listen on 127.0.0.1 port {port}: " in log
    assert "choose another port with --port" in log
    assert "loading" not in str(log_lines(tmp_path / "server.log"))
