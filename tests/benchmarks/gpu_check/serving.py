"""The real server as a process on the card: images and texts by number of clients, end to end."""

import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding_bound import bare_per_s
from benchmarks.gpu_check import card
from benchmarks.gpu_check.findings import Finding, absent
from benchmarks.gpu_check.graphs import NAME
from benchmarks.gpu_check.parity import parity
from benchmarks.gpu_check.pictures import photographs, picture_files
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import N_SAMPLE, Subject
from benchmarks.serving.http_message import OCTETS
from benchmarks.serving.load import Asked, Task, write_bodies
from benchmarks.serving.servers import PORT, Program, Running, post, running
from benchmarks.serving.windows import run_load
from diptych.adapters.plan_file import n_cpus

WARM_S = 1.0
N_DECODED = 64


def measure_server(
    tier: str, device: str, sizes: Sizes, model_repo: Path, subject: Subject
) -> Iterator[Finding]:
    """What it chose, its vectors, then windows of JPEGs of 640 x 480 and of short texts, one to a request."""
    if not model_repo.is_dir():
        yield absent(tier, "the server", "its graphs could not be made, see above")
        return
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as folder:
        before = card.used_mb()
        with running(program(device, model_repo, Path(folder))) as server:
            yield from measure_running(tier, server, sizes, subject, Path(folder))
            after = card.used_mb()
        if before is not None and after is not None:
            note = "of the card, while the server was at work"
            yield Finding(tier, "memory", "the server", {"peak_mib": after - before}, note=note)
        yield _decoding(tier, sizes)


def measure_running(
    tier: str, server: Running, sizes: Sizes, subject: Subject, folder: Path
) -> Iterator[Finding]:
    """One that is ready; `folder` gets what is sent to it."""
    choice = chosen(tier, server)
    yield choice
    yield parity(
        tier,
        "through the server",
        _OverHttp(server.port, subject),
        (np.arange(N_SAMPLE), np.arange(N_SAMPLE)),  # the numbers of items: the server prepares them itself
        (subject.truth[0], subject.text_truth),
        str(choice.figures["precision"]),
    )
    for kind in _kinds(folder, sizes, subject):
        for clients in sizes.clients:
            yield _window(tier, server, kind, clients, sizes)


class _OverHttp:
    """The server as an encoder of the sample's items, which are named by their numbers."""

    def __init__(self, port: int, subject: Subject) -> None:
        self._port, self._subject = port, subject
        self._files = picture_files(N_SAMPLE)

    def encode_image(self, numbers: Any) -> Any:
        """(B,) -> (B, D)."""
        return np.stack([self._asked(self._files[number].read_bytes(), "image/png") for number in numbers])

    def encode_text(self, numbers: Any) -> Any:
        """(B,) -> (B, D)."""
        texts = self._subject.sample.texts
        return np.stack([self._asked(texts[number].encode(), "text/plain") for number in numbers])

    def _asked(self, body: bytes, content_type: str) -> Any:
        return np.frombuffer(post(self._port, "/embed", body, content_type, OCTETS), "<f4")


def program(device: str, model_repo: Path, folder: Path, flags: tuple[str, ...] = ()) -> Program:
    """As its users start it, but for what is random: its weights, and so its version's gate."""
    command = [sys.executable, "-m", "diptych", "serve", "--port", PORT, "--model-repo", str(model_repo)]
    command += ["--model", NAME, "--allow-ungated", "--device", device, "--data-dir", str(folder / "data")]
    return Program("diptych gpu-check", (*command, *flags), "/readyz")


def _kinds(folder: Path, sizes: Sizes, subject: Subject) -> list[Asked]:
    images, texts = folder / "images.bin", folder / "texts.bin"
    write_bodies(images, photographs(sizes.n_pictures))
    write_bodies(texts, [text.encode() for text in subject.sample.texts])
    return [
        Asked("images", "/embed", str(images), "image/jpeg", OCTETS),
        Asked("texts", "/embed", str(texts), "text/plain", OCTETS),
    ]


def serving_of(server: Running) -> dict[str, Any]:
    """What `/models` says of how it serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/models", timeout=10) as answer:
        (model,) = (one for one in json.load(answer)["models"] if one["active"])
    told: dict[str, Any] = model["serving"]
    return told


def chosen(tier: str, server: Running) -> Finding:
    """Device, precision and plan, as `/models` names them."""
    serving = serving_of(server)
    figures = {"load_s": server.load_s, **_flat(serving)}
    return Finding(tier, "serving", "the server's choice", figures)


def _flat(serving: dict[str, Any]) -> dict[str, Any]:
    embed, plan = serving["embed"], serving["embed"].get("plan") or {}
    running = next(one for one in serving["running"] if one["precision"] == embed["precision"])
    told = {"provider": running["provider"], "precision": embed["precision"], "why": embed["reason"]}
    if graphs := running["cuda_graphs"]:
        told["CUDA graphs"] = "; ".join(
            f"{tower}s: {'captured' if one['captured'] else one['reason']}" for tower, one in graphs.items()
        )
    return told | dict(plan)


def _decoding(tier: str, sizes: Sizes) -> Finding:
    """What all cores of the machine decode and prepare, without any server: no encoder gets more."""
    n_threads = n_cpus()
    rate = bare_per_s(photographs(min(N_DECODED, sizes.n_pictures)), n_threads, sizes.serving_s)
    return Finding(tier, "serving", f"decoding alone, {n_threads} threads", {"per_s": rate})


def _window(tier: str, server: Running, kind: Asked, clients: int, sizes: Sizes) -> Finding:
    task = Task(server.port, server.pid, clients, sizes.serving_s, min(WARM_S, sizes.serving_s), [kind])
    found = run_load(task)
    latency = found["latency"][kind.name]
    figures = {name: found[name] for name in ("per_s", "server_cpu")}
    figures |= {name: latency[name] for name in ("p50_ms", "p99_ms")}
    name = f"{kind.name}, {clients} client{'s' * (clients > 1)}"
    return Finding(tier, "serving", name, figures)
