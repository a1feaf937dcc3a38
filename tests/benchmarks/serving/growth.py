"""How cost grows with the size of the model, the size of the images and the number of labels."""

from benchmarks.serving.bench import Bench
from benchmarks.serving.classify import classify_known, embed_form, know
from benchmarks.serving.load import Asked
from benchmarks.serving.model import MAIN, SHAPES, bundle, image_graph, model_repo
from benchmarks.serving.photos import photo_file
from benchmarks.serving.servers import Program, diptych, running
from benchmarks.serving.store import Figures
from benchmarks.serving.windows import raw_photos, window
from benchmarks.serving.workers import ask

IMAGE_SIZES = {(320, 240): 512, (640, 480): 512, (1920, 1440): 64}  # how many photographs of each
N_LABELS = (10, 100, 1_000, 10_000)
BATCH = 16
MODEL_CLIENTS, IMAGE_CLIENTS = 32, 8


def measure_growth(bench: Bench, number: int) -> None:
    """Models and images in every round; labels once, since their requests take turns anyway."""
    for name in SHAPES:
        bundle(name)
    for name in SHAPES:
        _model(bench, name, number)
    for decode in bench.decodes:
        _images(bench, decode, number)
    _labels(bench)


def _model(bench: Bench, name: str, number: int) -> None:
    asked = {"part": "growth model", "model": name, "round": number}
    if not bench.has(**asked):
        bench.measure(lambda: _bare_and_served(bench, name), **asked)


def _bare_and_served(bench: Bench, name: str) -> Figures:
    graph = str(image_graph(bundle(name), "fp32"))
    (session,) = ask("bare", graph=graph, batches=[BATCH], seconds=bench.seconds / 2)
    with running(diptych(model_repo(), name, "--allow-ungated")) as server:
        served = window(bench, server, [raw_photos(photo_file())], MODEL_CLIENTS)
    return served | {"bare_per_s": session["per_s"], "bare_cpu": session["cpu"]}


def _images(bench: Bench, decode: str, number: int) -> None:
    """The fastest precision, so that what is not the encoder shows."""
    precision = bench.precisions[-1]
    same = {"part": "growth image", "decode": decode, "precision": precision, "round": number}
    todo = [size for size in IMAGE_SIZES if not bench.has(**same, size=_spell(size))]
    if todo:
        with running(_main(precision, decode)) as server:
            for size in todo:
                kind = raw_photos(photo_file(size, IMAGE_SIZES[size]))
                bench.measure(
                    lambda kind=kind: window(bench, server, [kind], IMAGE_CLIENTS),
                    **same,
                    size=_spell(size),
                )


def _labels(bench: Bench) -> None:
    asked = {"part": "growth labels", "precision": bench.precisions[-1]}
    if bench.has(**asked):
        return
    kinds: list[Asked] = [embed_form(), *map(classify_known, N_LABELS)]
    with running(_main(bench.precisions[-1], "exact")) as server:
        for n_labels in N_LABELS:
            know(server, n_labels)
        bench.measure(lambda: window(bench, server, kinds, 1, 2 * bench.seconds), **asked)


def _main(precision: str, decode: str) -> Program:
    return diptych(model_repo(), MAIN, "--allow-ungated", precision=precision, decode=decode)


def _spell(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
