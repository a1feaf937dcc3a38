"""A whole run as one Markdown text."""

from benchmarks.serving import default_tables, growth_tables, in_process, tables
from benchmarks.serving.bars import bars_table
from benchmarks.serving.bench import Bench
from benchmarks.serving.findings import figures, middle, rounds
from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.measures import median
from benchmarks.serving.texts import histogram


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
    return ["Its grids, images/s by lanes x threads of each, decode threads:", grids] if grids else []


def _growth(bench: Bench) -> list[str]:
    """Nothing as long as nothing of it was measured."""
    measured = any(figures(bench, part=part) for part in growth_tables.PARTS)
    return ["**How cost grows:**", growth_tables.growth_tables(bench)] if measured else []


def _conditions(bench: Bench) -> str:
    first, last = bench.store.days()
    days = first if first == last else f"{first} to {last}"
    lines = [
        f"{machine()}. {versions()}. {days}, commit {commit()}.",
        "ViT-B/32 with seeded random weights, the same checkpoint for all servers, one after the other; 512 "
        f"distinct JPEG photographs of 640 x 480. Rounds in which all take turns: {bench.rounds}; windows of "
        f"{bench.seconds:g} s; median of the rounds (best).",
    ]
    if found := rounds(bench, "us_per_request", part="generator"):
        lines.append(f"The load generator itself costs {middle(found.values(), 0)} µs a request.")
    lines += [_agreement(bench, name) for name in bench.rivals]
    return " ".join(filter(None, lines)) + _lengths(bench)


def _agreement(bench: Bench, name: str) -> str:
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
