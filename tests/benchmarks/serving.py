"""`make bench`: what serving costs, in turns with another commit, with infinity or with onnxruntime alone.

    PYTHONPATH=tests python -m benchmarks.serving [--beside CHECKOUT] [--quick] [--write FILE]

Without `--beside` the server is measured against the same work in this process (Pillow and onnxruntime, no
HTTP) and against infinity, which serves the same checkpoint from an environment of its own. With it, against
the server of another checkout: rates and the server's processor time, pair by pair. Needs Linux.
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
from PIL import Image

from benchmarks import inputs
from benchmarks.environments import environment, installed
from benchmarks.load import (
    JSON,
    OCTETS,
    Part,
    Requests,
    Window,
    in_turns,
    post,
    post_form,
    ratios,
    spread,
    summed_up,
    window,
)  # fmt: skip
from benchmarks.report import (
    Verdict,
    command_line,
    commit,
    conditions,
    finish,
    parser,
    run,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import PORT, REPOSITORY, Program, Running, diptych, layout_of, resident_bytes, running
from support.default_model import DEFAULT_MODEL

MARKS = "bench"
N_PHOTOS, N_TEXTS, PER_FORM, MANY = 256, 480, 64, 32
CPU_BAR, RATE_BAR = 1.05, 0.85  # against another commit: processor time at most, items a second at least
INFINITY_BARS = {"fp32": 1.25, "int8": 3.0}  # images a second at 32 clients over infinity's
PROCESS_BAR = 0.9  # images a second at 32 clients over the work in this process
BATCHES = (1, 8, 16)
QUIET = {"DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}

Measure = Callable[[], Window]


@dataclass(frozen=True)
class Model:
    """A model in one precision."""

    name: str
    precision: str

    def repository(self, checkout: Path) -> Path:
        """Where a checkout has it."""
        return inputs.imported(checkout) if self.name == inputs.VIT else checkout / "model_repo"

    def program(self, checkout: Path, data_dir: Path, name: str) -> Program:
        """The server of a checkout with this model alone."""
        flags = ["--precision", self.precision]
        flags += ["--allow-ungated"] if self.name == inputs.VIT else []
        repository = self.repository(checkout)
        return diptych(repository, self.name, data_dir, *flags, checkout=checkout, name=name)

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Load:
    """One kind of request by so many clients."""

    name: str
    n_clients: int
    requests: Callable[[], Requests]

    def __str__(self) -> str:
        return f"{self.name}, {self.n_clients} client{'s' * (self.n_clients > 1)}"


@dataclass(frozen=True)
class Row:
    """What one load came to: the windows of each subject, by round; the first subject is this commit."""

    model: Model
    load: Load
    windows: dict[str, list[Window]]

    def ratios(self, subject: str, figure: str) -> list[float]:
        """This commit over the subject, by round."""
        ours, theirs = (
            [getattr(one, figure) for one in self.windows[name]]
            for name in (next(iter(self.windows)), subject)
        )
        return list(ratios(ours, theirs))


@cache
def _images() -> Requests:
    return Requests([post("/embed", one, "image/jpeg", OCTETS) for one in inputs.photos(N_PHOTOS)])


@cache
def _texts() -> Requests:
    texts = inputs.captions(N_TEXTS)
    return Requests([post("/embed", text.encode(), "text/plain", OCTETS) for text in texts])


@cache
def _labels() -> Requests:
    """Photographs against a thousand labels that the server has seen before."""
    named = Part("labels", json.dumps(inputs.labels(1000, seed=0)).encode())
    photos = [Part("image", photo, "image/jpeg") for photo in inputs.photos(N_PHOTOS)]
    return Requests([post_form("/classify", [photo, named]) for photo in photos])


@cache
def _pictures() -> Requests:
    return Requests([post("/embed", one, "image/png", OCTETS) for one in inputs.pictures()])


@cache
def _forms() -> Requests:
    files = [Part("image", picture, "image/png") for picture in inputs.pictures()]
    groups = [files[start : start + PER_FORM] for start in range(0, len(files) - PER_FORM + 1, PER_FORM)]
    messages = [post_form("/embed", group, OCTETS) for group in groups]
    return Requests(messages, PER_FORM)


VIT_LOADS = (
    Load("photo", 1, _images), Load("photo", MANY, _images), Load("text", MANY, _texts),
    Load("1,000 labels", 1, _labels),
)  # fmt: skip
DEFAULT_LOADS = (
    Load("picture", 1, _pictures), Load("picture", MANY, _pictures), Load("64 pictures", 2, _forms),
)  # fmt: skip
MODELS = (Model(inputs.VIT, "fp32"), Model(inputs.VIT, "int8"), Model(DEFAULT_MODEL, "int8"))


def main() -> int:
    args = _flags().parse_args()
    if sys.platform != "linux":
        sys.exit(f"the benchmark reads /proc, which {sys.platform} does not have")
    rounds = 1 if args.quick else args.rounds
    seconds = 1.0 if args.quick else args.seconds
    models = [model for model in MODELS if not args.models or str(model) in args.models]
    plans: list[str] = []
    rows = [row for model in models for row in _measure(model, args.beside, rounds, seconds, plans)]
    beside = f" Beside it: {args.beside.name}, commit {commit(args.beside)}." if args.beside else ""
    if any("infinity" in row.windows for row in rows):
        beside = f" infinity: {installed('infinity')}."
    said = (
        f"{conditions(command_line('bench', 'BENCH'))}{beside} ViT-B/32 has random weights; "
        f"{rounds} rounds in which all take turns, windows of {seconds:g} s; medians of the rounds (lowest "
        "to highest). CPU ms: processor time of the server for one item."
    )
    tables = [windows_table(rows), ratios_table(rows), verdicts_table(list(verdicts(rows)))]
    parts = [said, *tables, "\n".join(plans)]
    finish("\n\n".join(filter(None, parts)) + "\n", args.write, MARKS)
    windows = [one for row in rows for found in row.windows.values() for one in found]
    failed = [error for one in windows for error in one.errors]
    for error in failed[:10]:
        say(f"an answer that was none: {error}")
    return 1 if failed else 0


def _measure(
    model: Model, beside: Path | None, rounds: int, seconds: float, plans: list[str]
) -> Iterator[Row]:
    """All loads of one model; the servers run all the time, and work in turns."""
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder, ExitStack() as stack:

        def start(checkout: Path, name: str) -> Running:
            say(f"{model}: starting {name}")
            program = model.program(checkout, Path(folder, name.replace(" ", "-")), f"{model} {name}")
            server = stack.enter_context(running(program))
            precision, plan = layout_of(server)
            plans.append(f"- {model}, {name}: ready after {server.ready_s:.1f} s, {precision}, plan: {plan}")
            return server

        ours = start(REPOSITORY, "this commit")
        other = start(beside, "the other commit") if beside else None
        rival = None if beside else _start_infinity(model, stack)
        for load in VIT_LOADS if model.name == inputs.VIT else DEFAULT_LOADS:
            subjects: dict[str, Measure] = {"this commit": _served(ours, load, seconds)}
            if other is not None:
                subjects["the other commit"] = _served(other, load, seconds)
            elif load.requests in (_images, _pictures, _forms):
                subjects["in process"] = in_process(model, load, seconds)
            if rival is not None and load.requests in (_images, _texts):
                subjects["infinity"] = partial(window, rival, _for_infinity(load), load.n_clients, seconds)
            found = in_turns(rounds, list(subjects.values()))
            row = Row(model, load, dict(zip(subjects, found, strict=True)))
            say(_line(row))
            yield row


def _served(server: Running, load: Load, seconds: float) -> Measure:
    return partial(window, server, load.requests(), load.n_clients, seconds)


def in_process(model: Model, load: Load, seconds: float) -> Measure:
    """The same work without a server: Pillow decodes and resizes, onnxruntime encodes, on all cores.

    One client is one image after the other on all threads. Many are one thread a core, each of which decodes
    and encodes a batch of its own; the batch is the best of a few tries.
    """
    graph = inputs.image_graph(inputs.bundle_of(model.repository(REPOSITORY), model.name), model.precision)
    payloads = cycle(inputs.pictures() if model.name == DEFAULT_MODEL else inputs.photos(N_PHOTOS))
    n_cores = len(os.sched_getaffinity(0))
    if load.n_clients == 1:
        return partial(_encode, _session(graph, n_cores), payloads, 1, 1, seconds)
    session = _session(graph, 1)
    rates = {batch: _encode(session, payloads, batch, n_cores, seconds / 2).per_s for batch in BATCHES}
    return partial(_encode, session, payloads, max(rates, key=lambda one: rates[one]), n_cores, seconds)


def _encode(
    session: ort.InferenceSession, payloads: Iterator[bytes], batch: int, n_threads: int, seconds: float
) -> Window:
    source = session.get_inputs()[0]
    size, spans = int(source.shape[1]), list[tuple[float, float]]()

    def one_batch() -> None:
        began = time.perf_counter()
        pixels = np.stack([_pixels(next(payloads), size) for _ in range(batch)])
        session.run(None, {source.name: pixels})
        spans.append((began, time.perf_counter()))

    def until(end: float) -> None:
        while time.perf_counter() < end:
            one_batch()

    one_batch()
    spans.clear()
    with ThreadPoolExecutor(n_threads) as pool:
        begin, cpu = time.perf_counter(), time.process_time()
        end = begin + seconds
        for thread in [pool.submit(until, end) for _ in range(n_threads)]:
            thread.result()
    # What a batch did behind the end is in both: the processor time is of all of it.
    last = max(to for _, to in spans)
    return summed_up(spans, begin, last, time.process_time() - cpu, batch, resident_bytes(os.getpid()))


def _pixels(payload: bytes, size: int) -> np.ndarray:
    """(S, S, 3) as a person would prepare it: the shorter side to `size`, the middle cut out."""
    with Image.open(io.BytesIO(payload)) as opened:
        image = opened.convert("RGB")
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    left, top = (wide - size) // 2, (high - size) // 2
    resized = image.resize((wide, high), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@cache
def _session(graph: Path, n_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _start_infinity(model: Model, stack: ExitStack) -> Running | None:
    """infinity with the same checkpoint; None for the default model, and where it does not start."""
    if model.name != inputs.VIT:
        return None
    say(f"{model}: starting infinity")
    checkpoint = str(inputs.checkpoint())
    try:
        program = str(environment("infinity") / "infinity_emb")
        command = (program, "v2", "--model-id", checkpoint)
        options = ("--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", PORT)
        command = (*command, "--no-bettertransformer", *options)
        return stack.enter_context(running(Program("infinity", command, "/health", QUIET)))
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        say(f"infinity is left out: {str(error).strip().splitlines()[-1][:200]}")
        return None


@cache
def _for_infinity(load: Load) -> Requests:
    """The same items as JSON, images in base64: infinity takes no other bodies."""
    modality, items = "text", inputs.captions(N_TEXTS)
    if load.name != "text":
        modality, encoded = "image", [base64.b64encode(one).decode() for one in inputs.photos(N_PHOTOS)]
        items = [f"data:image/jpeg;base64,{one}" for one in encoded]
    bodies = [{"model": str(inputs.checkpoint()), "input": [item], "modality": modality} for item in items]
    return Requests([post("/embeddings", json.dumps(body).encode(), JSON) for body in bodies])


def windows_table(rows: Sequence[Row]) -> str:
    """What each subject came to."""
    cells = []
    for row in rows:
        for subject, found in row.windows.items():
            per_s, p50 = ([getattr(one, name) for one in found] for name in ("per_s", "p50_ms"))
            cpu, p99 = ([getattr(one, name) for one in found] for name in ("cpu_ms", "p99_ms"))
            mb = "-" if subject == "in process" else f"{max(one.resident_mb for one in found):,.0f}"
            figures = [spread(per_s), spread(p50), f"{median(p99):,.0f}", spread(cpu, 2), mb]
            cells.append([f"{row.model}: {row.load}, {subject}", *figures])
    return table(["measured", "items/s", "p50 ms", "p99 ms", "CPU ms an item", "MB"], cells)


def ratios_table(rows: Sequence[Row]) -> str:
    """This commit over each other subject, round by round."""
    cells = [
        [f"{row.model}: {row.load}, over {subject}"]
        + [spread(row.ratios(subject, figure), 3) for figure in ("per_s", "p50_ms", "cpu_ms")]
        for row in rows
        for subject in list(row.windows)[1:]
    ]
    return table(["this commit over the other, by round", "items/s", "p50", "CPU"], cells)


def verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    """The bars of what was compared: of medians over the rounds."""
    for row in rows:
        what = f"{row.model}: {row.load}"
        if "the other commit" in row.windows:
            cpu, per_s = (median(row.ratios("the other commit", name)) for name in ("cpu_ms", "per_s"))
            yield Verdict(f"{what}, CPU", f"<= {CPU_BAR}", f"{cpu:.3f}", cpu <= CPU_BAR)
            yield Verdict(f"{what}, items/s", f">= {RATE_BAR}", f"{per_s:.3f}", per_s >= RATE_BAR)
        if row.load.n_clients != MANY or row.load.name != "photo":
            continue
        bars = {"in process": PROCESS_BAR, "infinity": INFINITY_BARS[row.model.precision]}
        for subject in bars.keys() & row.windows.keys():
            found = median(row.ratios(subject, "per_s"))
            yield Verdict(
                f"{what} over {subject}", f">= {bars[subject]}", f"{found:.3f}", found >= bars[subject]
            )


def _line(row: Row) -> str:
    found = ", ".join(f"{name} {spread([one.per_s for one in all_])}/s" for name, all_ in row.windows.items())
    return f"{row.model}: {row.load}: {found}"


def _flags() -> argparse.ArgumentParser:
    flags = parser(__doc__, quick="one round of short windows")
    flags.add_argument("--beside", type=_checkout, metavar="CHECKOUT", help="another one of this repository")
    flags.add_argument("--rounds", type=int, default=5, help="in which all take turns (default 5)")
    flags.add_argument("--seconds", type=float, default=4.0, help="of one window (default 4)")
    models = f"of {', '.join(map(str, MODELS))}"
    flags.add_argument("--models", type=lambda text: text.split(","), help=models)
    return flags


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "server" / "src" / "diptych").is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is no checkout of this repository")
    return folder


if __name__ == "__main__":
    run(main)
