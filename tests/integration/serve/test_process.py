"""`diptych serve` as a process: what it prints, how it fails to start, and with TLS and keys."""

import json
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.cli import main
from support.image_host import write_certificate
from support.pictures import picture
from support.server import RunningServer, log_lines, serve, start
from support.tiny_bundle import TINY, write_tiny_bundle

WITHIN_S = 30


def refusal(model_repo: Path, model: str, data_dir: Path, *flags: str, status: int = 1) -> str:
    """Return the log of a server that must fail to start."""
    process, log_file = start(model_repo, model, data_dir, *flags)
    assert process.wait(timeout=60) == status
    return log_file.read_text()


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


def test_commands_that_a_ready_server_prints_work_as_printed(model_repo: Path, tmp_path: Path) -> None:
    flags = ["--host", "0.0.0.0", "--api-key", "a key of tests"]
    gallery = write_gallery(tmp_path / "it's a gallery", "red", "blue")
    with serve(model_repo, TINY, tmp_path / "data", "--gallery", str(gallery), *flags) as server:
        where, curl, add = printed(server)
        port = urlsplit(server.url).port
        assert f"http://127.0.0.1:{port} " in where
        environment = {"PATH": os.environ["PATH"], "DIPTYCH_API_KEY": "a key of tests"}
        found = subprocess.check_output(curl, shell=True, env=environment)
        assert {hit["id"] for hit in json.loads(found)["hits"]} == {"red", "blue"}
        added = subprocess.check_output(add, shell=True, env=environment, text=True, cwd=tmp_path)
        assert added == "default: 1 created, 0 replaced, 0 unchanged, 0 failed\n"
    assert "a key of tests" not in server.log_file.read_text()
    assert "DIPTYCH_API_KEY" in where


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--version", "7"], 1, "has no version 7, only 1"),
        (["--max-image-px", "100000000"], 2, "error: --max-image-px: "),
    ],
)
def test_invalid_setting_is_refused_before_listening(
    model_repo: Path, tmp_path: Path, flags: list[str], status: int, words: str
) -> None:
    log = refusal(model_repo, TINY, tmp_path, *flags, status=status)
    assert words in log
    assert "listening" not in log
    assert "Traceback" not in log


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


def flags(certificate: Path, key: Path) -> tuple[str, ...]:
    return ("--tls-cert", str(certificate), "--tls-key", str(key))


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False  # the certificate is for another name
    return context


def status_with(client: httpx.Client, token: str) -> int:
    return client.get("/version", headers={"Authorization": f"Bearer {token}"}).status_code


def wait_for(client: httpx.Client, token: str, status: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while (found := status_with(client, token)) != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_server_speaks_https_and_follows_its_keys(
    model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_DATA_DIR", str(tmp_path / "data"))
    assert main(["keys", "create", "--name", "first", "--scope", "read"]) == 0
    first = capsys.readouterr().out.strip()
    tls = flags(*write_certificate(tmp_path))
    network = ("--host", "0.0.0.0", "--allowed-hosts", "images.example")  # allowed, as there is a key
    with serve(model_repo, TINY, tmp_path / "data", *network, *tls) as running:
        assert running.url.startswith("https://")
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, verify=trusting(tmp_path / "certificate.pem")) as client:
            assert status_with(client, first) == 200
            assert client.get("/version").status_code == 401
            assert main(["keys", "create", "--name", "second", "--scope", "read"]) == 0
            second = capsys.readouterr().out.strip()
            wait_for(client, second, 200)
            assert main(["keys", "revoke", first[4:12]]) == 0
            wait_for(client, first, 401)
            assert status_with(client, second) == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(url.replace("https", "http") + "/healthz")
        assert running.stop() == 0
        log = running.log_file.read_text()
        assert "(second) is accepted from now on" in log
        assert "(first) is refused from now on" in log
        assert second not in log
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    assert "never  never" not in capsys.readouterr().out  # its last use was kept at the stop


@pytest.mark.parametrize("damage", ["exchanged", "encrypted"])
def test_files_of_tls_that_cannot_be_used_are_said_at_the_start(
    model_repo: Path, tmp_path: Path, damage: str
) -> None:
    certificate, key = write_certificate(tmp_path)
    if damage == "exchanged":
        certificate, key = key, certificate
    else:
        encrypt = ["openssl", "pkcs8", "-topk8", "-passout", "pass:x", "-in", str(key)]
        key = tmp_path / "encrypted.pem"
        subprocess.run([*encrypt, "-out", str(key)], check=True, capture_output=True)
    said = f"TLS cannot use {certificate} with the key {key}: "
    log = refusal(model_repo, TINY, tmp_path / "data", *flags(certificate, key))
    assert said + ("the key has a password, " if damage == "encrypted" else "") in log
