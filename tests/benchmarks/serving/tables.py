"""The tables of a run in Markdown; measures nothing, judges nothing."""

from benchmarks.serving.bench import Bench
from benchmarks.serving.classify import BUSY, N_LABELS
from benchmarks.serving.findings import figures, middle, number, rounds, servers, spell
from benchmarks.serving.limit import BATCHES, WAYS
from diptych_training.evaluate.table import markdown_table

HTTP = {"part": "http"}
ENOUGH_FOR_P99 = 100


def images_table(bench: Bench) -> str:
    """Images a second by number of clients."""
    rows = [
        [server, *(spell(_image(bench, "per_s", server, n)) for n in bench.clients)]
        for server in servers(bench)
    ]
    return markdown_table(["images/s by clients", *map(str, bench.clients)], rows)


def latency_table(bench: Bench) -> str:
    """Milliseconds from the first byte sent to the last byte received."""
    header = [f"{share}, {n}" for share in ("p50", "p99") for n in bench.clients]
    rows = []
    for server in servers(bench):
        p50 = [middle(_image(bench, "p50_ms", server, n), 0) for n in bench.clients]
        rows.append([server, *p50, *(_p99(bench, server, n) for n in bench.clients)])
    below = f"\\* of fewer than {ENOUGH_FOR_P99} requests in the shortest window: the slowest one."
    return f"{markdown_table(['ms an image by clients', *header], rows)}\n\n{below}"


def texts_table(bench: Bench) -> str:
    """Texts a second; how images are decoded does not matter to them."""
    header = ["texts/s", *(f"{n}" for n in bench.text_clients), *(f"p50 ms, {n}" for n in bench.text_clients)]
    rows = []
    for server in servers(bench):
        same = {**HTTP, "server": server, "kind": "text"}
        found = [rounds(bench, "per_s", **same, clients=n).values() for n in bench.text_clients]
        if any(found):
            p50 = [rounds(bench, "p50_ms", **same, clients=n).values() for n in bench.text_clients]
            rows.append([server.removesuffix(" exact"), *map(spell, found), *map(middle, p50)])
    return markdown_table(header, rows)


def resources_table(bench: Bench) -> str:
    """Memory, and how much of the cores each side had at 32 clients."""
    header = ["server", "MB after load", "MB, most", "ready after s", "cores, server", "cores, generator"]
    rows = []
    for server in servers(bench):
        at_32 = {**HTTP, "server": server, "kind": "image", "clients": 32}
        loaded = rounds(bench, "loaded_mb", **at_32).values()
        most = [
            one["resident_mb"] for _, one in bench.store.all(**HTTP, server=server, seconds=bench.seconds)
        ]
        row = [server, middle(loaded, 0), number(max(most), 0) if most else "-"]
        row += [middle(rounds(bench, figure, **at_32).values()) for figure in ("load_s", "server_cpu")]
        rows.append([*row, middle(rounds(bench, "client_cpu", **at_32).values(), 3)])
    return markdown_table(header, rows + _as_started(bench))


def _as_started(bench: Bench) -> list[list[str]]:
    """Ours with nothing set; its start includes the choice of a precision, and the measuring of plans."""
    return [
        [
            f"diptych as it starts by itself ({found['precision']})",
            number(found["loaded_mb"], 0),
            number(found["resident_mb"], 0),
            *(number(found[figure]) for figure in ("load_s", "server_cpu")),
            number(found["client_cpu"], 3),
        ]
        for found in figures(bench, part="as started").values()
    ]


def limit_table(bench: Bench) -> str:
    """The limit and the bare session."""
    header = [
        "batch",
        "GFLOP/s",
        "limit, images/s",
        "one session",
        "in lanes",
        "one session over limit",
        "in lanes over limit",
        "better one over the graph's own limit",
        "cores",
        "passes",
    ]
    rows = []
    for batch in BATCHES:
        same = {"part": "limit", "batch": batch}
        row = [str(batch), middle(rounds(bench, "gflops", **same).values(), 0)]
        rates = ("limit_per_s", *(f"{way}_per_s" for way in WAYS))
        row += [spell(rounds(bench, name, **same).values()) for name in rates]
        ratios = (*(f"{way}_ratio" for way in WAYS), "ratio_of_graph")
        row += [spell(rounds(bench, name, **same).values(), 3) for name in ratios]
        passes = middle(rounds(bench, "passes", **same).values(), 0)
        rows.append([*row, middle(rounds(bench, "cpu", **same).values(), 2), passes])
    return markdown_table(header, rows)


def in_process_table(bench: Bench) -> str:
    """The reference beside HTTP at 32 clients and at one."""
    header = [
        "in one process",
        "images/s",
        "batch; lanes x threads, decode threads",
        "cores",
        "HTTP at 32",
        "p50 ms",
        "HTTP at one",
        "the server's plan",
    ]
    rows = []
    for server in servers(bench)[: len(bench.precisions) * len(bench.decodes)]:
        _, precision, decode = server.split()
        same = {"part": "beside", "precision": precision, "decode": decode}
        found = figures(bench, **same).values()
        cells = {
            f"{one['batch']}; {one['lanes']} x {one['encoder_threads']}, {one['decode_threads']}"
            for one in found
        }
        over = {**HTTP, "server": server, "kind": "image"}
        row = [
            f"{precision} {decode}",
            spell(rounds(bench, "per_s", **same).values()),
            "; ".join(sorted(cells)),
        ]
        row += [middle(rounds(bench, "cpu", **same).values())]
        row += [spell(rounds(bench, "per_s", **over, clients=32).values())]
        row += [spell(rounds(bench, "p50_ms", **same).values(), low_is_good=True)]
        row += [spell(rounds(bench, "p50_ms", **over, clients=1).values(), low_is_good=True)]
        plans = {one["plan"] for one in figures(bench, part="plan", server=server).values()}
        rows.append([*row, "; ".join(sorted(plans)) or "-"])
    return markdown_table(header, rows)


def classify_table(bench: Bench) -> str:
    """Milliseconds at one client, requests a second at many."""
    kinds = ["embed raw", "embed form", *(f"classify {n}" for n in N_LABELS)]
    header = ["p50 ms at one client", *bench.precisions]
    rows = []
    for kind in kinds:
        found = [
            rounds(bench, f"latency.{kind}.p50_ms", part="classify", precision=precision, kind="in turns")
            for precision in bench.precisions
        ]
        rows.append([kind, *(spell(one.values(), low_is_good=True) for one in found)])
    for n in N_LABELS:
        same = {"part": "classify", "kind": "cold", "labels": n}
        found = [rounds(bench, "p50_ms", **same, precision=precision) for precision in bench.precisions]
        rows.append([f"classify {n}, new labels", *(spell(one.values(), low_is_good=True) for one in found)])
    for kind in (kinds[1], kinds[-1]):
        same = {"part": "classify", "kind": kind, "clients": BUSY}
        found = [rounds(bench, "per_s", **same, precision=precision) for precision in bench.precisions]
        rows.append([f"{kind}, requests/s at {BUSY} clients", *(spell(one.values()) for one in found)])
    return markdown_table(header, rows)


def _image(bench: Bench, figure: str, server: str, clients: int) -> list[float]:
    return list(rounds(bench, figure, **HTTP, server=server, kind="image", clients=clients).values())


def _p99(bench: Bench, server: str, clients: int) -> str:
    few = min(_image(bench, "n_least", server, clients), default=ENOUGH_FOR_P99) < ENOUGH_FOR_P99
    return middle(_image(bench, "p99_ms", server, clients), 0) + ("\\*" if few else "")
