"""The same checkpoint served by others, measured as we are, and proof that all do the same work."""

import base64
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import versus
from benchmarks.serving.bench import Bench
from benchmarks.serving.environments import environment, installed
from benchmarks.serving.http_message import JSON, MULTIPART, OCTETS, Part, form
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, checkpoint, main_texts, model_repo
from benchmarks.serving.over_http import asked_of, measure_windows, missing
from benchmarks.serving.photos import photos
from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.servers import PORT, Program, Running, diptych, post, running
from benchmarks.serving.store import Figures, Parameters
from benchmarks.serving.windows import bodies_file

N_COMPARED = 8
MAX_WHY = 200  # characters
QUIET = {
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": "",  # ours has modules that are none of theirs
}
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


def prepare_rivals(bench: Bench) -> None:
    """Make their environments before anything is measured; what cannot be made is left out."""
    for name in bench.rivals:
        _or_leave_out(bench, name, lambda name=name: environment(name))


def measure_rivals(bench: Bench, number: int) -> None:
    """Each in turn. One that cannot be installed, started or asked is left out of this run."""
    for name in bench.rivals:
        _or_leave_out(bench, name, lambda name=name: measure_rival(bench, name, number))


def why_left_out(bench: Bench, name: str) -> str | None:
    """What kept a rival from being measured when it was last tried."""
    found = bench.store.get(**_left_out(bench, name))
    return found["why"] if found else None


def _or_leave_out(bench: Bench, name: str, work: Callable[[], object]) -> None:
    if name in bench.left_out:
        return
    try:
        work()
    except (RuntimeError, OSError, subprocess.CalledProcessError, SystemExit) as error:
        why = bench.left_out[name] = in_one_line(error)
        bench.store.put({"why": why}, **_left_out(bench, name))
        bench.say(f"{name} is left out: {why} (`--rivals none` measures without others)")
    else:
        if why_left_out(bench, name) is not None:
            bench.store.put({"why": None}, **_left_out(bench, name))


def in_one_line(error: BaseException) -> str:
    """How an error begins and, where a traceback or a log follows, what that says in the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    ends = [lines[0][:MAX_WHY]] + ([lines[-1][:MAX_WHY]] if len(lines) > 1 else [])
    return " ... ".join(ends)


def _left_out(bench: Bench, name: str) -> Parameters:
    return {"part": "left out", "server": name, "seconds": bench.seconds}


def measure_rival(bench: Bench, name: str, number: int) -> None:
    """One in one round; it is not started when all of it was measured."""
    rival, agreement = RIVALS[name], {"part": "agreement", "server": name}
    program = rival.program()
    images, texts = rival.images(name), rival.texts(name)
    in_turns = name == versus.RIVAL
    alone = [(images, n) for n in bench.clients if not (in_turns and n in versus.CLIENTS)]
    alone += [(texts, n) for n in bench.text_clients if not (in_turns and n in versus.CLIENTS)]
    todo = missing(bench, program, number, alone)
    with_turns = in_turns and versus.is_missing(bench, number)
    ours = None if bench.has(**agreement) else _ours()
    if todo or with_turns or ours is not None:
        with running(program) as server:
            if ours is not None:
                bench.measure(
                    lambda: _agreement(rival, server, ours) | {"releases": installed(name)}, **agreement
                )
            if with_turns:
                versus.take_turns_with(bench, server, [images, texts], number)
            measure_windows(bench, server, number, todo)
    if in_turns:
        _keep_turns(bench, program.name, number, [images, texts])


def _keep_turns(bench: Bench, server: str, number: int, kinds: Sequence[Asked]) -> None:
    """What the rival did in the turns is its window at as many clients."""
    for kind, clients in product(kinds, versus.CLIENTS):
        figures = bench.store.get(**versus.asked(number, kind.name, clients), seconds=bench.seconds)
        if figures is not None:
            bench.measure(lambda found=figures["rival"]: found, **asked_of(server, number, kind, clients))


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
