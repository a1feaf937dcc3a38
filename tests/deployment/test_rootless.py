"""What runs images without an engine takes from Compose, and clears away. Runs no image."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deployment.rootless import running
from deployment.rootless.building import Image
from deployment.rootless.checkout import Checkout, make_checkout
from deployment.rootless.composed import Service, compose, read_services, terms_of
from deployment.rootless.running import Contained, Mount, Terms
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


@pytest.fixture
def without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """An image whose command says something; all that takes root to start it is left out."""
    program = tmp_path / "program"
    program.write_text(SAYING)
    program.chmod(0o755)
    monkeypatch.setattr(running, "tool", lambda _: str(program))
    said = {
        "Entrypoint": ["x"],
        "Cmd": [],
        "Env": [],
        "User": "1:1",
        "WorkingDir": "/",
        "StopSignal": "SIGINT",
    }
    return Image(tmp_path, said)


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
    confined = Terms(read_only=True, no_capabilities=True, no_new_privileges=True)
    assert train.terms == replace(confined, stop_grace_s=120)  # a checkpoint is written first
    assert composed(checkout, "server").terms == replace(confined, stop_grace_s=50)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_rights: Image
) -> None:
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)  # takes root
    said = []
    for _ in range(2):
        checkout = make_checkout(tmp_path / "checkout", recipe_file("tiny"))
        assert list(checkout.path.glob("*.log")) == []
        (checkout.training / "downloads").mkdir(exist_ok=True)  # which is to be kept
        for _ in range(2):
            with running.start(without_rights, (), checkout.path / "training.log") as process:
                process.outer.wait(timeout=20)
                said.append(process.said())
    assert said == ["run folder: /x\nstopped at step 21; go on\n"] * 4


def test_service_that_says_nothing_has_the_rights_and_the_end_that_an_engine_gives() -> None:
    assert terms_of({}) == Terms(False, False, False, "", 10)
    assert not terms_of({"cap_drop": ["ALL"], "cap_add": ["SYS_ADMIN"]}).no_capabilities
    said = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    assert terms_of({**said, "stop_grace_period": "1m30s", "stop_signal": "SIGINT"}) == Terms(
        stop_signal="SIGINT", stop_grace_s=90
    )


@pytest.mark.parametrize(("name", "word"), [
    ("read_only", "remount,bind,ro"), ("no_capabilities", "--bounding-set=-all"),
    ("no_new_privileges", "--no-new-privs"),
])  # fmt: skip
def test_process_is_confined_by_nothing_but_its_terms(
    tmp_path: Path, without_rights: Image, name: str, word: str
) -> None:
    for value in (True, False):
        terms = replace(Terms(), **{name: value})
        with running.start(without_rights, (), tmp_path / "log", terms=terms) as process:
            command = " ".join(map(str, process.outer.args))  # type: ignore[arg-type]
        assert (word in command) == value


def test_signal_that_ends_a_process_is_its_images_unless_its_service_has_another(
    tmp_path: Path, without_rights: Image
) -> None:
    for said, expected in (("", "SIGINT"), ("SIGUSR1", "SIGUSR1")):
        terms = Terms(stop_signal=said)
        with running.start(without_rights, (), tmp_path / "log", terms=terms) as process:
            assert process.terms.stop_signal == expected
    assert Image(tmp_path, {}).stop_signal == "SIGTERM"


def test_process_gets_that_signal_and_is_killed_after_its_grace(tmp_path: Path) -> None:
    for word, expected in (("SIGINT", 7), ("SIGTERM", -signal.SIGTERM), ("SIGUSR2", -signal.SIGKILL)):
        code = "trap 'exit 7' INT; trap '' USR2; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen(["sh", "-c", code], stdout=subprocess.PIPE) as outer:
            assert outer.stdout is not None
            outer.stdout.readline()
            terms = Terms(stop_signal=word, stop_grace_s=0.5)
            assert Contained(outer, outer.pid, tmp_path / "log", terms).stop() == expected
