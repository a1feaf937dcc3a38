"""`diptych serve` with a certificate, and with keys that are made and revoked while it runs."""

import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from diptych.cli import main
from support.image_host import write_certificate
from support.server import serve, start
from support.tiny_bundle import TINY, write_tiny_bundle

WITHIN_S = 30


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    monkeypatch.setenv("DIPTYCH_DATA_DIR", str(tmp_path / "data"))
    assert main(["keys", "create", "--name", "first", "--scope", "read"]) == 0
    first = capsys.readouterr().out.strip()
    tls = flags(*write_certificate(tmp_path))
    network = ("--host", "0.0.0.0", "--allowed-hosts", "images.example")  # allowed, as there is a key
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", *network, *tls) as running:
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


@pytest.mark.parametrize("damage", ["missing", "exchanged", "encrypted", "other"])
def test_files_of_tls_that_cannot_be_used_are_said_at_the_start(tmp_path: Path, damage: str) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    certificate, key = write_certificate(tmp_path)
    if damage == "missing":
        key.unlink()
    elif damage == "exchanged":
        certificate, key = key, certificate
    elif damage == "encrypted":
        encrypted = tmp_path / "encrypted.pem"
        encrypt = [
            "openssl",
            "pkcs8",
            "-topk8",
            "-passout",
            "pass:x",
            "-in",
            str(key),
            "-out",
            str(encrypted),
        ]
        subprocess.run(encrypt, check=True, capture_output=True)
        key = encrypted
    else:
        (tmp_path / "other").mkdir()
        _, key = write_certificate(tmp_path / "other")
    process, log = start(tmp_path / "model_repo", TINY, tmp_path / "data", *flags(certificate, key))
    assert process.wait(timeout=WITHIN_S) == 1
    said = f"TLS cannot use {certificate} with the key {key}: "
    assert said + ("the key has a password, " if damage == "encrypted" else "") in log.read_text()
