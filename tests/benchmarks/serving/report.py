"""A whole run as one Markdown text."""

from benchmarks.serving import default_tables, growth_tables, in_process, tables, versus
from benchmarks.serving.bars import bars_table
from benchmarks.serving.bench import Bench
from benchmarks.serving.findings import figures, middle, rounds
from benchmarks.serving.machine import machine, versions
from benchmarks.serving.measures import median
from benchmarks.serving.rivals import why_left_out
from benchmarks.serving.sharing import n_cpus
from benchmarks.serving.store import Figures
from benchmarks.serving.texts import histogram
from benchmarks.serving.turns import TURNS, n_pairs_in, short_turn_s, turn_s

BODIES = (
    "A photograph is diptych's whole body, answered by raw float32; infinity takes base64 in JSON and "
    "answers JSON, transformers takes a form and answers JSON."
)


def report(bench: Bench) -> str:
    """Everything that was measured so far."""
    sections = [
        _conditions(bench),
        tables.images_table(bench),
        tables.latency_table(bench),
        tables.texts_table(bench),
        tables.resources_table(bench),
        "**The bars.**",
        bars_table(bench),
        "**The machine's limit** for ViT-B/32 in float32, and the bare onnxruntime session:",
        tables.limit_table(bench),
        "**The same work in one process**, decoding and encoding overlapped, the best of a grid:",
        tables.in_process_table(bench),
        *_grids(bench),
        "**Labels**, beside `/embed` of the same photographs:",
        tables.classify_table(bench),
        "**The default model**, whose encoder is nearly free:",
        default_tables.default_table(bench),
        default_tables.bodies_table(bench),
        default_tables.profile_table(bench),
        *_growth(bench),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _grids(bench: Bench) -> list[str]:
    """Nothing as long as nothing of them was measured."""
    grids = in_process.grids_table(bench)
    left_out = f"those more than {100 * (1 - in_process.CLOSE):.0f}% below the best with batches of "
    left_out += f"{in_process.FIRST_BATCH} were not tried with others"
    head = f"Its grids, images/s by lanes x threads of each, decode threads; {left_out}:"
    return [head, grids] if grids else []


def _growth(bench: Bench) -> list[str]:
    """Nothing as long as nothing of it was measured."""
    measured = any(figures(bench, part=part) for part in growth_tables.PARTS)
    return ["**How cost grows:**", growth_tables.growth_tables(bench)] if measured else []


def _conditions(bench: Bench) -> str:
    first, last = bench.store.days()
    days = first if first == last else f"{first} to {last}"
    lines = [
        f"{machine(n_cpus())}. {versions()}. {days}, commit {bench.commit}.",
        "ViT-B/32 with seeded random weights, the same checkpoint for all servers; 512 distinct JPEG "
        f"photographs of 640 x 480. Rounds in which all take turns: {bench.rounds}; windows of "
        f"{bench.seconds:g} s; median of the rounds (best). At 1 and 32 clients shorter windows take turns "
        f"in each round: {TURNS} of {short_turn_s(bench.seconds):g} s of diptych with the work in one "
        f"process, which at one client take {n_pairs_in(short_turn_s(bench.seconds))} turns within each, "
        f"{versus.TURNS} of {turn_s(bench.seconds):g} s of diptych and {versus.RIVAL}; "
        "median of the turns.",
        _waiting(bench),
        _bundle(bench),
        BODIES,
    ]
    if found := rounds(bench, "us_per_request", part="generator"):
        lines.append(f"The load generator itself costs {middle(found.values(), 0)} µs a request.")
    lines += [_agreement(bench, name) for name in bench.rivals]
    return " ".join(filter(None, lines)) + _lengths(bench)


def _waiting(bench: Bench) -> str:
    """Servers that are in turns are all in memory: what those that wait take from the one that is asked."""
    found = [one["waiting_cpu"] for _, one in bench.store.all(part="versus", seconds=bench.seconds)]
    return f"Those that waited for their turn took at most {max(found):.2f} cores." if found else ""


def _bundle(bench: Bench) -> str:
    found = figures(bench, part="bundle").get(0)
    if found is None:
        return ""
    far = [_parity(precision, one) for precision, one in found["parity"].items() if precision != "fp32"]
    return " ".join(
        [f"The bundle was imported at {found['made_at']} UTC by the sources {found['sources']}.", *far]
    )


def _parity(precision: str, found: Figures) -> str:
    """How far a precision is from float32."""
    return (
        f"Its {precision} against float32, by that import on {found['n_images']} images and "
        f"{found['n_texts']} texts: cosine {found['cosine_mean']:.5f} in the mean, "
        f"{found['cosine_min']:.5f} at the lowest; an item alone against itself in a batch "
        f"{found['batch_cosine_min']:.6f}."
    )


def _agreement(bench: Bench, name: str) -> str:
    why = why_left_out(bench, name)
    if why is not None:
        return f"{name} is left out, since it failed: {why}."
    found = figures(bench, part="agreement", server=name).get(0)
    if found is None:
        return ""
    image, text = found["image_cosine_min"], found["text_cosine_min"]
    return f"Lowest cosine of {name} ({found['releases']}) to our fp32: images {image:.6f}, texts {text:.6f}."


def _lengths(bench: Bench) -> str:
    found = figures(bench, part="texts").get(0)
    if found is None:
        return ""
    head = f"{len(found['lengths'])} texts, median {median(found['lengths']):.0f} tokens:"
    return f"\n\n{head}\n\n```\n{histogram(found['lengths'])}\n```"
