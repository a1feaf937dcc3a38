"""What runs images without an engine takes from Compose, and clears away. Runs no image."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployment.rootless import running
from deployment.rootless.building import Image
from deployment.rootless.checkout import Checkout, make_checkout
from deployment.rootless.composed import Service, compose, read_services
from deployment.rootless.running import Mount
from deployment.rootless.workshop import TERMINATED
from deployment.tools import ROOT
from diptych_training.paths import recipe_file

IMAGE = Image(Path("/root-of-it"), {"Entrypoint": ["diptych-train"], "Cmd": ["--help"], "Env": ["A=b"]})
SAYING = """#!/bin/sh
echo run folder: /x
echo 'stopped at step 21; go on'
sleep 0.2 &
wait
"""
WORKING = """
import sys, time
from pathlib import Path
from deployment.rootless import workshop
workshop.os.geteuid = lambda: 0
with workshop.workshop(Path(sys.argv[1]), keep=len(sys.argv) > 2):
    print("at work", flush=True)
    time.sleep(60)
"""


def at_work(folder: Path, *keep: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKING, folder, *keep], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def composed(checkout: Checkout, service: str) -> Service:
    return compose(IMAGE, read_services(checkout.path, **checkout.variables)[service])


@pytest.mark.long
def test_training_is_what_compose_says_of_this_checkout(checkout: Checkout) -> None:
    train = composed(checkout, "train")
    assert train.image.command == ["train", "/srv/cache/mine.toml", "proof", "pictograms"]
    assert train.image.user == (10001, 10001)
    assert train.image.environment["A"] == "b"
    assert {
        Mount("/tmp", "size=1g,mode=1777"),
        Mount("/dev/shm", "size=1073741824,mode=1777"),
        Mount("/srv/cache", source=checkout.training),
        Mount("/srv/model_repo", source=checkout.model_repo),
    } <= set(train.mounts)


@pytest.mark.long
def test_server_may_not_write_the_repository_that_training_publishes_into(checkout: Checkout) -> None:
    server = composed(checkout, "server")
    assert Mount("/srv/model_repo", source=checkout.model_repo, read_only=True) in server.mounts
    assert server.image.command == ["diptych-train", "serve", "--insecure"]  # the image's own entry point
    assert server.image.environment["DIPTYCH_MODEL"] == "pictograms"


@pytest.mark.parametrize("keep", [[], ["--keep"]], ids=["cleared", "kept"])
def test_sigterm_ends_the_work_and_clears_it_away_unless_it_is_kept(tmp_path: Path, keep: list[str]) -> None:
    folder = tmp_path / "rootless"
    with at_work(folder, *keep) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == TERMINATED
    assert folder.exists() == bool(keep)


def test_folder_of_the_users_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    thesis = tmp_path / "documents" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(thesis.parent)
    for folder in (thesis.parent, link):
        with at_work(folder) as process:
            said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert b"documents is not empty, and no earlier run made it" in said[1]
        assert [file.name for file in thesis.parent.iterdir()] == ["thesis.txt"]


def test_folder_that_was_kept_is_taken_again_but_by_one_run_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        with at_work(tmp_path, "--keep") as first:
            assert first.stdout is not None
            assert first.stdout.readline() == b"at work\n"
            with at_work(tmp_path) as second:
                said = second.communicate(timeout=20)[1]
            assert (second.returncode, b"is in use by another run" in said) == (1, True)
            first.terminate()
        (tmp_path / "image").touch()
    with at_work(tmp_path) as last:
        assert last.stdout is not None
        last.stdout.readline()
        last.terminate()
    assert not tmp_path.exists()


def test_second_run_over_a_kept_folder_knows_nothing_of_what_the_first_one_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)  # takes root
    program = tmp_path / "program"
    program.write_text(SAYING)
    program.chmod(0o755)
    monkeypatch.setattr(running, "tool", lambda _: str(program))  # in place of all that takes root, too
    image = Image(tmp_path, {"Entrypoint": ["x"], "Cmd": [], "Env": [], "User": "1:1", "WorkingDir": "/"})
    said = []
    for _ in range(2):
        checkout = make_checkout(tmp_path / "checkout", recipe_file("tiny"))
        assert list(checkout.path.glob("*.log")) == []
        (checkout.training / "downloads").mkdir(exist_ok=True)  # which is to be kept
        for _ in range(2):
            with running.start(image, (), checkout.path / "training.log") as process:
                process.outer.wait(timeout=20)
                said.append(process.said())
    assert said == ["run folder: /x\nstopped at step 21; go on\n"] * 4
