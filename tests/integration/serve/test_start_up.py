"""A server process while it loads: alive at once, ready when that is true, clear about why it never is."""

import time
from pathlib import Path

import httpx
import pytest

from support.callers import wait_until
from support.server import log_lines, start_command
from support.tiny_bundle import TINY, write_tiny_bundle


def url_of(log_file: Path) -> str:
    wait_until(lambda: any("url" in line for line in log_lines(log_file)))
    return str(next(line["url"] for line in log_lines(log_file) if "url" in line))


def test_alive_at_once_refusing_with_when_to_come_back_and_ready_when_it_is_true(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo", precisions={"fp32": "glacial"})
    process, log_file = start_command(tmp_path / "repo", TINY, tmp_path / "data")
    try:
        url = url_of(log_file)
        assert httpx.get(f"{url}/healthz").status_code == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("POST", "/embed"),
            ("GET", "/search?q=a"),
        ):
            answer = httpx.request(method, f"{url}{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
            assert answer.json()["detail"] == "the model is being loaded"
        assert httpx.get(f"{url}/version").json()["model"] is None
        n_asked = 0
        while httpx.get(f"{url}/readyz").status_code == 503:
            assert httpx.get(f"{url}/healthz").status_code == 200
            n_asked += 1
            time.sleep(0.05)
        assert n_asked > 1
        assert httpx.post(f"{url}/embed", json={"input": [{"text": "red"}]}).status_code == 200
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("file", ["image_encoder.onnx", "golden.npz"])
def test_what_cannot_be_loaded_is_one_line_and_status_1(tmp_path: Path, file: str) -> None:
    write_tiny_bundle(tmp_path / "repo")
    (tmp_path / "repo" / TINY / "1" / file).write_bytes(b"")
    process, log_file = start_command(tmp_path / "repo", TINY, tmp_path / "data")
    assert process.wait(timeout=60) == 1
    (line,) = [line for line in log_lines(log_file) if line["level"] == "error"]
    assert line["message"].startswith("cannot serve: ")
    assert file in line["message"]
    assert "Traceback" not in log_file.read_text()
