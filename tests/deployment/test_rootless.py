"""What runs images without an engine takes from Compose, and clears away. Runs no image."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployment.rootless.building import Image
from deployment.rootless.checkout import Checkout
from deployment.rootless.composed import Service, compose, read_services
from deployment.rootless.running import Mount
from deployment.rootless.workshop import TERMINATED
from deployment.tools import ROOT

IMAGE = Image(Path("/root-of-it"), {"Entrypoint": ["diptych-train"], "Cmd": ["--help"], "Env": ["A=b"]})
WORKING = """
import sys, time
from pathlib import Path
from deployment.rootless import workshop
workshop.os.geteuid = lambda: 0
with workshop.workshop(Path(sys.argv[1]), keep=len(sys.argv) > 2):
    print("at work", flush=True)
    time.sleep(60)
"""


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
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING, folder, *keep], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == TERMINATED
    process.stdout.close()
    assert folder.exists() == bool(keep)
