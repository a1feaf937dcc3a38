"""What is looked at in the server that runs from its image. A check is what is wrong, or nothing."""

import io
import os
import secrets
import tarfile
import tempfile
import time
from pathlib import Path

import httpx

from deployment.rootless.building import Image
from deployment.rootless.findings import (
    MB,
    Findings,
    check_confined,
    check_equal,
    check_read_only,
    check_status,
    mb,
    packed_mb,
)
from deployment.rootless.running import TMP, Contained, Mount, enter, health_check_of, start
from deployment.tools import ROOT
from diptych_client import Client
from support.server import log_lines

READY_WITHIN_S = 120
GALLERY = ROOT / "server" / "gallery"
UNWRITABLE = ("/srv/model_repo", "/opt/diptych", "/etc", "/home")
NAMES = ("airplane", "honeybee", "cat", "dog", "fish", "guitar", "key", "lemon", "rocket", "umbrella")


def find_of_server(image: Image, scratch: Path) -> Findings:
    """Sizes, then the server: refused without a key, started, used, stopped, started again on its data."""
    found = Findings(figures=_sizes(image))
    data = scratch / "data"
    data.mkdir()
    os.chown(data, *image.user)
    found.check(
        "without a key it does not listen to other machines", lambda: _refuses_without_key(image, data)
    )
    foreign = scratch / "foreign"
    foreign.mkdir(mode=0o755)
    found.check(
        "a data folder of another user is refused in one line", lambda: _refuses_foreign(image, foreign)
    )
    key = secrets.token_hex(16)
    variables = {"DIPTYCH_API_KEY": key, "DIPTYCH_PORT": "8765"}
    began = time.monotonic()
    server = start(image, _mounts(data), scratch / "first.log", variables)
    try:
        unready = enter(image, server, variables, health_check_of(image))
        found.check("the health check fails until it is ready", lambda: check_status(unready, 1))
        wait_until_ready(server)
        found.figures["ready after s, first start"] = round(time.monotonic() - began, 1)
        found.check(
            "the health check passes",
            lambda: check_status(enter(image, server, variables, health_check_of(image)), 0),
        )
        found.check(
            "it runs as process 1, as the image's user, without rights", lambda: check_confined(image, server)
        )
        found.check("its root is read-only", lambda: check_read_only(image, server, *UNWRITABLE))
        with Client("http://127.0.0.1:8765", api_key=key) as client:
            found.check("pictures are added, searched, classified and embedded", lambda: _main_job(client))
            found.check(
                "a tar archive of 600 pictures becomes a job and is worked off", lambda: _archive(client)
            )
        found.check("a form of 60 MB is taken", lambda: _large_body(key))
        found.check("the command line answers inside", lambda: _command_line(image, server, variables))
        found.check("nothing is left in /tmp", lambda: _nothing_in_tmp(image, server, variables))
        found.figures["resident MB after the main job"] = _resident_mb(server)
    finally:
        stopped = time.monotonic()
        status = server.stop()
        found.figures["ended after s"] = round(time.monotonic() - stopped, 1)
    found.check("SIGTERM ends it with 0", lambda: check_equal(status, 0))
    began = time.monotonic()
    again = start(image, _mounts(data), scratch / "second.log", variables)
    try:
        wait_until_ready(again)
        found.figures["ready after s, second start"] = round(time.monotonic() - began, 1)
        with Client("http://127.0.0.1:8765", api_key=key) as client:
            found.check("what was added is there after a restart", lambda: _still_there(client))
    finally:
        status_again = again.stop()
    found.check("SIGTERM ends it with 0 again", lambda: check_equal(status_again, 0))
    return found


def _sizes(image: Image) -> dict[str, float | str]:
    """MB on the disk, and packed as registries keep it."""
    ours = ("opt/diptych", "srv", "usr/local/lib/diptych")
    whole, added = mb(image.root, "."), mb(image.root, *ours)
    return {
        "image, MB": whole,
        "of it added to the base, MB": added,
        "of it the default model, MB": mb(image.root, "srv/model_repo"),
        "added, packed (gzip), MB": packed_mb(image.root, *ours),
    }


def _mounts(data: Path) -> list[Mount]:
    return [TMP, Mount("/srv/data", source=data)]


def _refuses_without_key(image: Image, data: Path) -> None:
    process = start(image, _mounts(data), data.parent / "refused.log", {"DIPTYCH_PORT": "8765"})
    assert process.outer.wait(timeout=READY_WITHIN_S) != 0
    said = process.log_file.read_text()
    assert "DIPTYCH_API_KEY" in said, said


def _refuses_foreign(image: Image, data: Path) -> None:
    log = data.parent / "foreign.log"
    process = start(image, _mounts(data), log, {"DIPTYCH_PORT": "8765", "DIPTYCH_API_KEY": "correct horse"})
    assert process.outer.wait(timeout=READY_WITHIN_S) == 1
    uid, gid = image.user
    refusal = f"data folder /srv/data cannot be written by user {uid}:{gid}, as it belongs to 0:0"
    said = log.read_text()
    assert [line["message"] for line in log_lines(log) if refusal in line["message"]], said
    assert "Traceback" not in said, said


def wait_until_ready(server: Contained) -> None:
    """Until its log says so. AssertionError with the log when it ends, or takes too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not any(line["message"] == "ready" for line in log_lines(server.log_file)):
        assert server.outer.poll() is None, server.log_file.read_text()
        assert time.monotonic() < deadline, server.log_file.read_text()
        time.sleep(0.05)


def _main_job(client: Client) -> None:
    client.create_collection("pets")
    files = [GALLERY / f"{name}.png" for name in NAMES]
    outcomes = list(client.add(files, ids=list(NAMES), collection="pets"))
    assert {outcome.status for outcome in outcomes} == {"created"}, outcomes
    for name in ("cat", "guitar", "lemon"):
        hits = client.search(name, collection="pets", k=3).hits
        assert name in {hit.id for hit in hits}, f"{name}: {hits}"
    predictions = client.classify([GALLERY / "cat.png"], ["rocket", "cat", "pizza"]).data[0].predictions
    assert predictions[0].label == "cat", predictions
    rows = client.embed(texts=["a cat"], images=[GALLERY / "cat.png"])
    assert len(rows.images[0].embedding) == len(rows.texts[0].embedding)


def _archive(client: Client) -> None:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as archive:
        for number in range(3):
            for file in sorted(GALLERY.glob("*.png"))[:200]:
                archive.add(file, f"{number}/{file.name}")
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(kept.getvalue())
        file.flush()
        job = client.add_tar(Path(file.name), collection="pets")
    ended = client.follow_job(job.id)
    assert ended.state == "done", ended


def _large_body(key: str) -> None:
    cat = (GALLERY / "cat.png").read_bytes()
    files = [("image", ("cat.png", cat + bytes(3 * MB))) for _ in range(20)]
    answer = httpx.post(
        "http://127.0.0.1:8765/embed", files=files, headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text[:300]
    assert len(answer.json()["data"]) == 20


def _command_line(image: Image, server: Contained, variables: dict[str, str]) -> None:
    asked = {**variables, "DIPTYCH_URL": "http://127.0.0.1:8765"}
    found = enter(image, server, asked, ["diptych", "search", "cat", "--collection", "pets", "--json"])
    assert found.returncode == 0, found.stderr
    assert '"cat"' in found.stdout


def _nothing_in_tmp(image: Image, server: Contained, variables: dict[str, str]) -> None:
    found = enter(image, server, variables, ["/bin/ls", "-A", "/tmp"])
    assert (found.returncode, found.stdout) == (0, ""), found.stdout


def _resident_mb(server: Contained) -> float:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (kb,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
    return round(kb * 1024 / MB, 1)


def _still_there(client: Client) -> None:
    assert {hit.id for hit in client.search("guitar", collection="pets", k=3).hits} >= {"guitar"}
