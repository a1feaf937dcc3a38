"""The Compose profile `train` from beginning to end, beside the server that it trains for."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from deployment.rootless.building import Image
from deployment.rootless.checkout import MODEL, RUN, USER, Checkout
from deployment.rootless.composed import Service, compose, read_services
from deployment.rootless.findings import Findings, check_confined, check_equal, check_read_only, mb
from deployment.rootless.running import Contained
from deployment.rootless.serving import GALLERY, wait_until_ready
from diptych.bundle.repository import ModelRepository
from diptych_client import Client

STEPS_BEFORE_STOP = 20
WITHIN_S = 3600
INTERRUPTED = 130
UNWRITABLE = ("/srv", "/opt/diptych", "/etc", "/usr/local/bin")
OF_SERVER = {"DIPTYCH_HOST": "127.0.0.1", "DIPTYCH_PORT": "8765"}  # where the published port would lead
LABELS = ("cat", "rocket", "pizza")


@dataclass(frozen=True)
class TrainProfile:
    """The images, where they run, and what was found of them."""

    server: Service
    training: Service
    checkout: Checkout
    found: Findings = field(default_factory=Findings)

    def find(self) -> Findings:
        """Serve; train until a signal comes, and then to the end; serve what was trained."""
        before, check = self.checkout.versions(), self.found.check
        self.found.figures["training image, MB"] = mb(self.training.image.root, ".")
        with self.server.start(self._log("server"), **OF_SERVER) as running:
            wait_until_ready(running)
            check("the server serves the version that is there", lambda: _serves(before[-1]))
            with self.training.start(self._log("training")) as process:
                step = self._interrupt(process, before)
            with self.training.start(self._log("training-again")) as process:
                self._finish(process, step, before)
            check("the server serves on, until it is started anew", lambda: _serves(before[-1]))
            check("SIGTERM ends the server with 0", lambda: check_equal(running.stop(), 0))
        with self.server.start(self._log("server-again"), **OF_SERVER) as running:
            wait_until_ready(running)
            check("started anew, it serves the version that was trained", lambda: _serves(before[-1] + 1))
            check("SIGTERM ends the server with 0 again", lambda: check_equal(running.stop(), 0))
        return self.found

    def _interrupt(self, process: Contained, before: list[int]) -> int:
        """Send SIGTERM in the midst of training; the step that it came to."""
        check, began = self.found.check, time.monotonic()
        _wait(process, lambda: "run folder:" in process.said())
        self.found.figures["data set there after s"] = _since(began)
        _wait(process, lambda: max(self._steps(), default=0) >= STEPS_BEFORE_STOP)
        check("training is process 1, the image's user, and without rights",
              lambda: check_confined(self.training.image, process))  # fmt: skip
        check("its root is read-only", lambda: check_read_only(self.training.image, process, *UNWRITABLE))
        stopped = time.monotonic()
        check("SIGTERM ends it with 130", lambda: check_equal(process.stop(), INTERRUPTED))
        self.found.figures["ended after SIGTERM, s"] = _since(stopped)
        (step,) = re.findall(r"^stopped at step (\d+);", process.said(), re.MULTILINE) or ["0"]
        self.found.figures["stopped at step"] = int(step)
        check("it says at which step, and leaves a checkpoint", lambda: self._kept(int(step)))
        check("nothing is published yet", lambda: self._published(before))
        return int(step)

    def _finish(self, process: Contained, step: int, before: list[int]) -> None:
        check, began = self.found.check, time.monotonic()
        check("started again, it ends with 0", lambda: check_equal(process.outer.wait(timeout=WITHIN_S), 0))
        self.found.figures["trained to the end, evaluated and exported after s"] = _since(began)
        check("it went on at the step where it was stopped", lambda: self._went_on(process, step))
        check("the next version is there, whole, and nothing beside it",
              lambda: self._published([*before, before[-1] + 1]))  # fmt: skip
        check("the version says what trained it, and all that was written is the user's",
              lambda: self._is_of_the_run(before[-1] + 1))  # fmt: skip
        self.found.figures["version that was trained, MB"] = mb(
            self.checkout.model_repo / MODEL / str(before[-1] + 1), "."
        )
        self.found.figures["training folder, MB"] = mb(self.checkout.training, ".")

    def _kept(self, step: int) -> None:
        assert step >= STEPS_BEFORE_STOP, step
        assert (self.checkout.run_folder / "checkpoints" / "last.safetensors").is_file()

    def _went_on(self, process: Contained, step: int) -> None:
        said = process.said()
        shown = [int(number) for number in re.findall(r"\| (\d+)/\d+ \[", said.partition("run folder:")[2])]
        assert shown[0] == step, f"its progress begins at {shown[0]}, not {step}"
        steps = self._steps()
        assert all(a < b for a, b in pairwise(steps)), steps
        assert f"finished at step {steps[-1]};" in said

    def _published(self, versions: list[int]) -> None:
        repository = ModelRepository(self.checkout.model_repo)
        for version in versions:
            repository.verify(MODEL, version)
        there = {file.name for file in (self.checkout.model_repo / MODEL).iterdir()}
        assert there == {str(version) for version in versions}, there

    def _is_of_the_run(self, version: int) -> None:
        manifest = ModelRepository(self.checkout.model_repo).manifest(MODEL, version)
        assert manifest.source["run"] == RUN, manifest.source
        assert manifest.metrics
        files = [*self.checkout.model_repo.rglob("*"), *self.checkout.training.rglob("*")]
        assert {(file.lstat().st_uid, file.lstat().st_gid) for file in files} == {(USER, USER)}

    def _steps(self) -> list[int]:
        """Whose loss was written down, as they were."""
        file = self.checkout.run_folder / "metrics.csv"
        rows = file.read_text().splitlines() if file.is_file() else []
        return [int(row.split(",")[0]) for row in rows if ",loss," in row]

    def _log(self, name: str) -> Path:
        return self.checkout.path / f"{name}.log"


def train_profile(server: Image, training: Image, checkout: Checkout) -> TrainProfile:
    """Both services as Compose has them in this checkout."""
    services = read_services(checkout.path, **checkout.variables)
    return TrainProfile(compose(server, services["server"]), compose(training, services["train"]), checkout)


def _serves(version: int) -> None:
    with Client("http://127.0.0.1:8765") as client:
        answer = client.classify([GALLERY / "cat.png"], LABELS)
    assert (answer.model.name, answer.model.version) == (MODEL, version), answer.model
    (image,) = answer.data
    assert {prediction.label for prediction in image.predictions} == set(LABELS)
    assert abs(sum(prediction.score for prediction in image.predictions) - 1) < 1e-4


def _wait(process: Contained, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        assert process.outer.poll() is None, process.said()[-3000:]
        assert time.monotonic() < deadline, process.said()[-3000:]
        time.sleep(0.2)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)
