"""The JavaScript client against a real server process with the tiny model, by node's test runner."""

import io
import tarfile
from pathlib import Path

from support.node import CLIENT, needs_node, run_node
from support.pictures import noise, picture
from support.server import serve
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

API_KEY = "sesame-open"


def write_pictures(folder: Path) -> None:
    """The files that the tests in `clients/js/test` read."""
    for name in ("many", "few/a"):
        (folder / name).mkdir(parents=True)
    for colour in ("red", "blue"):
        (folder / f"{colour}.png").write_bytes(picture(colour))
    (folder / "few" / "red.png").write_bytes(picture("red"))
    (folder / "few" / "a" / "blue.png").write_bytes(picture("blue"))
    (folder / "few" / "notes.txt").write_text("no picture")
    for seed in range(70):
        (folder / "many" / f"{seed:02}.png").write_bytes(noise(seed, (16, 16)))
    with tarfile.open(folder / "some.tar", "w") as archive:
        for name, content in (("red", picture("red")), ("blue", picture("blue")), ("broken", b"broken")):
            member = tarfile.TarInfo(f"{name}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@needs_node
def test_calls_of_the_client_against_a_server(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_pictures(tmp_path / "pictures")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", "--max-k", "50") as server:
        done = run_node(
            "--test",
            "test/server.test.js",
            cwd=CLIENT,
            DIPTYCH_URL=server.url,
            TEST_PICTURES=str(tmp_path / "pictures"),
            TEST_EMBED_DIM=str(EMBED_DIM),
        )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_keys_versions_and_rollouts(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_tiny_bundle(tmp_path / "model_repo", seed=seed)
    write_pictures(tmp_path / "pictures")
    bundle = tmp_path / "model_repo" / TINY / "1"
    with tarfile.open(tmp_path / "pictures" / "bundle.tar", "w") as archive:
        for file in sorted(bundle.iterdir(), key=lambda file: file.name != "manifest.json"):
            archive.add(file, file.name)
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", "--api-key", API_KEY) as server:
        done = run_node(
            "--test",
            "test/admin.test.js",
            cwd=CLIENT,
            DIPTYCH_URL=server.url,
            TEST_API_KEY=API_KEY,
            TEST_PICTURES=str(tmp_path / "pictures"),
        )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_retries_timeouts_and_faults(tmp_path: Path) -> None:
    done = run_node("--test", "test/faults.test.js", cwd=CLIENT)
    assert done.returncode == 0, done.stdout + done.stderr
