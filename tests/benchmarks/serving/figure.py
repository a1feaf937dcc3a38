"""Draw images a second and p50 of all servers by number of clients."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.bench import Bench
from benchmarks.serving.findings import rounds, servers
from benchmarks.serving.machine import machine
from benchmarks.serving.measures import median
from benchmarks.serving.sharing import n_cpus

COLOURS = {
    "diptych fp32": "#1f5fa8",
    "diptych int8": "#c2410c",
    "infinity": "#4d7c0f",
    "transformers": "#6b7280",
}
STYLES = {"fast": "--", "exact": "-"}
OURS_WIDTH, THEIRS_WIDTH = 2.2, 1.6


def draw(bench: Bench, file: Path) -> None:
    """Replaces the file."""
    mpl.use("Agg")
    figure = Figure(figsize=(10, 4.7), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for server in servers(bench):
        _line(bench, left, server, "per_s")
        _line(bench, right, server, "p50_ms")
    _dress(left, bench, "images a second (more is better)")
    _dress(right, bench, "p50, ms (less is better)")
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    figure.suptitle(f"ViT-B/32, 640 x 480 JPEG over HTTP; {machine(n_cpus()).split(';')[0]}", fontsize=11)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _line(bench: Bench, axes: Axes, server: str, figure: str) -> None:
    points = []
    for n in bench.clients:
        found = rounds(bench, figure, part="http", server=server, kind="image", clients=n)
        if found:
            points.append((n, median(list(found.values()))))
    if points:
        name, _, decode = server.rpartition(" ")
        ours = server.startswith("diptych")
        axes.plot(
            *zip(*points, strict=True),
            label=f"{server} decoding" if ours else server,
            color=COLOURS.get(name if ours else server, "black"),
            linestyle=STYLES.get(decode, "-") if ours else ":",
            linewidth=OURS_WIDTH if ours else THEIRS_WIDTH,
            marker="o",
            markersize=4,
        )


def _dress(axes: Axes, bench: Bench, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(bench.clients), [str(n) for n in bench.clients])
    axes.set_xlabel("clients, each with one request at a time")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
