"""A checkout whose code runs in processes of its own; knows only what users know of it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

SOURCES = ("server/src", "training/src", "clients/python/src")
WITHIN_S = 120
DEFAULT_MODELS = ("everyday", "pictograms")  # of this and of earlier checkouts
KEY = "a key of the surface"
FIXED_PLAN = (  # one item a batch, on one thread: the same bits every time, whatever else the machine does
    *("--n-threads", "1", "--n-lanes", "1", "--max-batch-size", "1"),
    *("--precision", "fp32", "--device", "cpu", "--index-device", "cpu"),
)


@dataclass(frozen=True)
class Checkout:
    root: Path
    home: Path  # what its processes keep

    @property
    def bundle(self) -> Path:
        """The newest version of the default model."""
        names = (self.root / "model_repo" / name for name in DEFAULT_MODELS)
        versions = next(name for name in names if name.is_dir()).iterdir()
        return max((one for one in versions if one.is_dir()), key=lambda version: int(version.name))

    @property
    def model(self) -> str:
        """The name of the default model."""
        return self.bundle.parent.name

    @property
    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(str(self.root / source) for source in SOURCES)
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith(("DIPTYCH_", "XDG_"))
        }
        return ours | {"PYTHONPATH": path, "HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def python(self, *arguments: str, status: int = 0) -> None:
        """Run Python with the code of this checkout. Raises RuntimeError on another exit status."""
        command, env = [sys.executable, "-P", *arguments], self._environment
        run = subprocess.run(command, cwd=self.home, env=env, capture_output=True, text=True, check=False)
        if run.returncode != status:
            shown = f"{' '.join(arguments)[-500:]}: exit status {run.returncode}, not {status}"
            raise RuntimeError(f"{self.root}: {shown}\n{run.stdout[-2000:]}{run.stderr[-4000:]}")

    @contextmanager
    def serving(self, data: Path, *flags: str) -> Iterator[httpx.Client]:
        """The default model by a fixed plan; its log is `data` with another ending."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        folders = ("--data-dir", str(data), "--cache-dir", str(self.home / "cache"))
        models = ("--model-repo", str(self.root / "model_repo"))
        command = [sys.executable, "-P", "-m", "diptych", "serve", "--port", port, *folders, *models]
        environment, log = self._environment | {"DIPTYCH_API_KEY": KEY}, data.with_suffix(".log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *FIXED_PLAN, *flags], cwd=self.home, env=environment, stdout=out, stderr=out
            )
        try:
            url, key = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=url, headers=key, timeout=WITHIN_S, trust_env=False) as client:
                _wait_until_ready(client, process, log)
                yield client
        finally:
            process.terminate()
            process.wait(timeout=WITHIN_S)


def _wait_until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if client.get("/readyz").is_success:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server is not ready: {log.read_text()[-4000:]}")
