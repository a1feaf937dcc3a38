"""How cost grows, as tables in Markdown; measures nothing."""

from benchmarks.serving.bench import Bench
from benchmarks.serving.findings import middle, rounds, spell
from benchmarks.serving.growth import BATCH, IMAGE_CLIENTS, IMAGE_SIZES, MODEL_CLIENTS, N_LABELS
from benchmarks.serving.model import SHAPES
from diptych_training.evaluate.table import markdown_table

PARTS = ("growth model", "growth image", "growth labels")


def growth_tables(bench: Bench) -> str:
    """Model, image and labels."""
    return "\n\n".join([_models(bench), _images(bench), _labels(bench)])


def _models(bench: Bench) -> str:
    rows = []
    for name, shape in SHAPES.items():
        same = {"part": "growth model", "model": name}
        row = [f"{name}: width {shape.width}, {shape.depth} blocks"]
        row += [f"{sum(shape.gflop_per_image().values()):.1f}"]
        row += [spell(rounds(bench, figure, **same).values()) for figure in ("bare_per_s", "per_s")]
        rows.append([*row, middle(rounds(bench, "loaded_mb", **same).values(), 0)])
    served = f"HTTP, {MODEL_CLIENTS} clients"
    header = ["model, fp32", "GFLOP an image", f"bare session, batch {BATCH}", served, "MB after load"]
    return markdown_table(header, rows)


def _images(bench: Bench) -> str:
    rows = []
    for width, height in IMAGE_SIZES:
        same = {"part": "growth image", "size": f"{width}x{height}"}
        row = [rounds(bench, "per_s", **same, decode=decode).values() for decode in bench.decodes]
        rows.append([f"{width} x {height}", *map(spell, row)])
    header = [f"JPEG, {bench.precisions[-1]}, {IMAGE_CLIENTS} clients: images/s", *bench.decodes]
    return markdown_table(header, rows)


def _labels(bench: Bench) -> str:
    rows = []
    for kind in ("embed form", *(f"classify {n}" for n in N_LABELS)):
        found = rounds(bench, f"latency.{kind}.p50_ms", part="growth labels")
        rows.append([kind, middle(found.values())])
    return markdown_table([f"known labels, {bench.precisions[-1]}", "p50 ms at one client"], rows)
