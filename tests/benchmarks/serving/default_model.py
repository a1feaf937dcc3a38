"""The default model, whose encoder is nearly free: what the server itself costs."""

import base64
import json
from collections.abc import Callable

from benchmarks.serving import bare
from benchmarks.serving.bench import Bench
from benchmarks.serving.http_message import JSON, MULTIPART, OCTETS, Part, form
from benchmarks.serving.load import Asked
from benchmarks.serving.model import image_graph
from benchmarks.serving.over_http import measure_windows, missing
from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.profile import profiled
from benchmarks.serving.servers import Running, diptych, running, way_of
from benchmarks.serving.store import Parameters
from benchmarks.serving.windows import bodies_file, window
from benchmarks.serving.workers import ask

MODEL = "pictograms"
MODEL_REPO = REPOSITORY / "model_repo"
PER_REQUEST = 64
SINGLE_CLIENTS, MANY_CLIENTS, BODY_CLIENTS = (1, 8, 32), (1, 2, 4), (1, 32)
BATCHES = (1, 8, 16, 32, 64)
BATCH_SHARE = 0.25  # of a window


def measure_default(bench: Bench, number: int) -> None:
    """The server as its users start it, then the bare session."""
    program = diptych(MODEL_REPO, MODEL, precision="auto")
    windows = [(_single(), n) for n in SINGLE_CLIENTS] + [(_many(), n) for n in MANY_CLIENTS]
    windows += [(kind(), n) for kind in (_form, _base64) for n in BODY_CLIENTS]
    todo = missing(bench, program, number, windows)
    profiles = [one for one in PROFILED if not bench.has(**_profile_of(number, *one))]
    if todo or profiles or not bench.has(part="default precision"):
        with running(program) as server:
            bench.measure(lambda: way_of(server), part="default precision")
            measure_windows(bench, server, number, todo)
            for kind, clients in profiles:
                _profile(bench, server, number, kind, clients)
    precision = bench.store.get(part="default precision", seconds=bench.seconds) or {}
    newest = max(
        (MODEL_REPO / MODEL).iterdir(), key=lambda folder: int(folder.name) if folder.name.isdigit() else 0
    )
    graph = str(image_graph(newest, precision["precision"]))
    bench.measure(
        lambda: bare.best(ask("bare", graph=graph, batches=BATCHES, seconds=bench.seconds * BATCH_SHARE)),
        part="default bare",
        round=number,
    )
    pictures = bodies_file("pictures", _pictures())
    bench.measure(
        lambda: ask("decoding", folder=str(newest), pictures=pictures, seconds=bench.seconds * BATCH_SHARE),
        part="default decoding",
        round=number,
    )


def _profile(bench: Bench, server: Running, number: int, kind: Callable[[], Asked], clients: int) -> None:
    asked = kind()
    bench.measure(
        lambda: profiled(server, lambda: window(bench, server, [asked], clients)),
        **_profile_of(number, kind, clients),
    )


def _profile_of(number: int, kind: Callable[[], Asked], clients: int) -> Parameters:
    return {"part": "default profile", "kind": kind().name, "clients": clients, "round": number}


def _single() -> Asked:
    """One picture of the gallery as the whole body."""
    return Asked("picture", "/embed", bodies_file("pictures", _pictures()), "image/png", OCTETS)


def _many() -> Asked:
    """`PER_REQUEST` pictures in one form."""
    pictures = _pictures()
    groups = [pictures[i : i + PER_REQUEST] for i in range(0, len(pictures) - PER_REQUEST + 1, PER_REQUEST)]
    bodies = [form([Part("image", picture, "image/png") for picture in group]) for group in groups]
    return Asked("64 pictures", "/embed", bodies_file("pictures-64", bodies), MULTIPART, OCTETS)


def _form() -> Asked:
    """The same picture as the one part of a form."""
    bodies = [form([Part("image", picture, "image/png")]) for picture in _pictures()]
    return Asked("picture, form", "/embed", bodies_file("pictures-form", bodies), MULTIPART, OCTETS)


def _base64() -> Asked:
    """The same picture as a data URI in JSON, answered by JSON with base64."""
    uris = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in _pictures()]
    bodies = [json.dumps({"input": [{"image": uri}], "encoding_format": "base64"}).encode() for uri in uris]
    return Asked("picture, base64", "/embed", bodies_file("pictures-base64", bodies), JSON)


PROFILED = ((_single, 1), (_single, 32), (_form, 32), (_base64, 32), (_many, 2))
BODIES = {"picture": "raw", "picture, form": "form", "picture, base64": "base64 in JSON, and so its answer"}


def _pictures() -> list[bytes]:
    return [file.read_bytes() for file in sorted((REPOSITORY / "server" / "gallery").glob("*.png"))]
