"""The same checkpoint served by others, measured as we are, and proof that all do the same work."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.bench import Bench
from benchmarks.serving.environments import environment, installed
from benchmarks.serving.http_message import JSON, MULTIPART, OCTETS, Part, form
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, checkpoint, main_texts, model_repo
from benchmarks.serving.over_http import measure_windows, missing
from benchmarks.serving.photos import photos
from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.servers import PORT, Program, Running, diptych, post, running
from benchmarks.serving.store import Figures
from benchmarks.serving.windows import bodies_file

N_COMPARED = 8
QUIET = {"DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "HF_HUB_OFFLINE": "1"}
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Rival:
    """How it is started, asked and read."""

    program: Callable[[], Program]
    image_path: str
    text_path: str
    image_type: str
    image_body: Callable[[bytes], bytes]
    text_body: Callable[[str], bytes]
    row: Callable[[bytes], list[float]]

    def images(self, name: str) -> Asked:
        bodies = bodies_file(f"{name}-photos", [self.image_body(photo) for photo in photos()])
        return Asked("image", self.image_path, bodies, self.image_type)

    def texts(self, name: str) -> Asked:
        bodies = bodies_file(f"{name}-texts", [self.text_body(text) for text in main_texts()[0]])
        return Asked("text", self.text_path, bodies, JSON)


def measure_rivals(bench: Bench, number: int) -> None:
    """Each in turn."""
    for name in bench.rivals:
        measure_rival(bench, name, number)


def measure_rival(bench: Bench, name: str, number: int) -> None:
    """One in one round; it is not started when all of it was measured."""
    rival, asked = RIVALS[name], {"part": "agreement", "server": name}
    program = rival.program()
    windows = [(rival.images(name), n) for n in bench.clients]
    windows += [(rival.texts(name), n) for n in bench.text_clients]
    todo = missing(bench, program, number, windows)
    ours = None if bench.has(**asked) else _ours()
    if todo or ours is not None:
        with running(program) as server:
            if ours is not None:
                bench.measure(
                    lambda: _agreement(rival, server, ours) | {"releases": installed(name)}, **asked
                )
            measure_windows(bench, server, number, todo)


def _agreement(rival: Rival, server: Running, ours: tuple[Rows, Rows]) -> Figures:
    """The lowest cosine between their vectors and those of our fp32 with exact decoding."""
    images = [
        rival.row(post(server.port, rival.image_path, rival.image_body(photo), rival.image_type))
        for photo in photos()[:N_COMPARED]
    ]
    texts = [
        rival.row(post(server.port, rival.text_path, rival.text_body(text), JSON))
        for text in main_texts()[0][:N_COMPARED]
    ]
    return {"image_cosine_min": _cosine_min(ours[0], images), "text_cosine_min": _cosine_min(ours[1], texts)}


def _ours() -> tuple[Rows, Rows]:
    with running(diptych(model_repo(), MAIN, "--allow-ungated")) as server:
        images = [post(server.port, "/embed", photo, "image/jpeg", OCTETS) for photo in photos()[:N_COMPARED]]
        texts = [
            post(server.port, "/embed", text.encode(), "text/plain", OCTETS)
            for text in main_texts()[0][:N_COMPARED]
        ]
    return _rows(images), _rows(texts)


def _rows(answers: Sequence[bytes]) -> Rows:
    return np.stack([np.frombuffer(answer, "<f4") for answer in answers])  # (N, D)


def _cosine_min(ours: Rows, theirs: Sequence[Sequence[float]]) -> float:
    rows = np.array(theirs, np.float32)  # (N, D)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(ours, axis=1)
    return float(((ours * rows).sum(axis=1) / lengths).min())


def _infinity() -> Program:
    command = (str(environment("infinity") / "infinity_emb"), "v2", "--model-id", str(checkpoint(MAIN)))
    options = ("--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", PORT)
    return Program("infinity", (*command, "--no-bettertransformer", *options), "/health", QUIET)


def _infinity_body(item: str, modality: str) -> bytes:
    return json.dumps({"model": str(checkpoint(MAIN)), "input": [item], "modality": modality}).encode()


def _transformers() -> Program:
    command = (str(environment("transformers") / "uvicorn"), "transformers_app:app", "--port", PORT)
    folder = str(REPOSITORY / "tests" / "benchmarks" / "serving" / "apps")
    return Program(
        "transformers",
        (*command, "--app-dir", folder),
        "/health",
        {"CHECKPOINT": str(checkpoint(MAIN)), **QUIET},
    )


RIVALS = {
    "infinity": Rival(
        program=_infinity,
        image_path="/embeddings",
        text_path="/embeddings",
        image_type=JSON,
        image_body=lambda photo: _infinity_body(
            f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}", "image"
        ),
        text_body=lambda text: _infinity_body(text, "text"),
        row=lambda answer: json.loads(answer)["data"][0]["embedding"],
    ),
    "transformers": Rival(
        program=_transformers,
        image_path="/embed/image",
        text_path="/embed/text",
        image_type=MULTIPART,
        image_body=lambda photo: form([Part("image", photo, "image/jpeg")]),
        text_body=lambda text: json.dumps({"text": text}).encode(),
        row=lambda answer: json.loads(answer)["embedding"],
    ),
}
