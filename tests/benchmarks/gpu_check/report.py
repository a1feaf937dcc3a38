"""All findings as Markdown and as JSON; measures nothing, and needs no package."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpu_check.findings import Finding, Kind

Columns = Sequence[tuple[str, Callable[[Finding], str]]]
PRODUCT_OF = {"fp32": "products of fp32", "fp16": "products of fp16"}
UPLOAD = "copies page-locked to card"


@dataclass(frozen=True)
class Conditions:
    """What a run was made on."""

    card: Mapping[str, str]
    machine: str
    releases: Mapping[str, str]
    commit: str
    day: str
    command: str
    seconds: float
    is_dry: bool = False


def as_json(conditions: Conditions, findings: Sequence[Finding]) -> str:
    """Everything, for programs."""
    told = {"conditions": asdict(conditions), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(told, indent=1) + "\n"


def as_markdown(conditions: Conditions, findings: Sequence[Finding]) -> str:
    """Everything, for people: what is absent and what failed stand first."""
    sections = [_head(conditions), _verdict(findings)]
    for title, kind, columns in _TABLES:
        rows = [finding for finding in findings if finding.kind == kind]
        if rows:
            sections += [f"**{title}**", _table(columns(findings), rows)]
    return "\n\n".join(sections) + "\n"


def _head(conditions: Conditions) -> str:
    found = conditions.card
    name = (
        f"{found['name']}, driver {found['driver_version']}, {found['memory.total']}" if found else "no card"
    )
    releases = ", ".join(f"{package} {release}" for package, release in conditions.releases.items())
    dry = " **A dry run on a CPU at tiny sizes: its figures say nothing.**" if conditions.is_dry else ""
    return (
        f"`{conditions.command}`, {conditions.day}, commit {conditions.commit}, {conditions.seconds:.0f} s. "
        f"{name}; {conditions.machine}. {releases}.{dry}"
    )


def _verdict(findings: Sequence[Finding]) -> str:
    judged = [finding for finding in findings if finding.ok is not None]
    bad = [finding for finding in judged if finding.is_failure]
    lines = [f"{len(judged) - len(bad)} of {len(judged)} checks passed."]
    lines += [f"- FAILED: {one.tier}, {one.name}: {one.note}" for one in bad]
    lines += [f"- absent: {one.tier}, {one.name}: {one.note}" for one in findings if one.kind == "absent"]
    return "\n".join(lines)


def _number(figure: str, digits: int = 1) -> Callable[[Finding], str]:
    def cell(finding: Finding) -> str:
        value: Any = finding.figures.get(figure)
        return "" if value is None else f"{value:,.{digits}f}"

    return cell


def _limits(_: Sequence[Finding]) -> Columns:
    return [("TFLOP/s", _number("tflops")), ("GB/s", _number("gb_per_s")), ("of", lambda one: one.note)]


def _parities(_: Sequence[Finding]) -> Columns:
    return [
        ("images: cosine at least", _number("image_cosine_min", 6)),
        ("texts", _number("text_cosine_min", 6)),
        ("nearest to itself", _number("own_nearest", 3)),
        ("alone and in a batch", _number("alone_cosine_min", 6)),
        ("", lambda one: "passed" if one.ok else "FAILED"),
    ]


def _rates(findings: Sequence[Finding]) -> Columns:
    batches = sorted({int(n) for one in findings if one.kind == "rate" for n in one.figures if n.isdigit()})
    limits = {one.name: one.figures for one in findings if one.kind == "limit"}

    def of_products(one: Finding) -> str:
        precision = next((name for name in PRODUCT_OF if f" {name}" in one.name), "")
        limit = limits.get(PRODUCT_OF.get(precision, ""), {}).get("tflops")
        return f"{one.figures['tflops'] / limit:.0%}" if limit else ""

    def of_upload(one: Finding) -> str:
        limit = limits.get(UPLOAD, {}).get("gb_per_s")
        return f"{one.figures['upload_gb_per_s'] / limit:.0%}" if limit else ""

    columns: list[tuple[str, Callable[[Finding], str]]] = [(f"{n}", _number(str(n), 0)) for n in batches]
    return [*columns, ("of products", of_products), ("of the upload", of_upload)]


def _trainings(_: Sequence[Finding]) -> Columns:
    return [
        ("images/s", _number("images_per_s", 0)),
        ("peak memory, MiB", _number("peak_mib", 0)),
        ("first loss", _number("first_loss", 3)),
        ("of", lambda one: one.note),
    ]


def _servings(_: Sequence[Finding]) -> Columns:
    return [
        ("a second", _number("per_s", 0)),
        ("p50, ms", _number("p50_ms", 2)),
        ("p99, ms", _number("p99_ms", 2)),
        ("cores of the server", _number("server_cpu", 2)),
        ("as", _told),
    ]


def _told(finding: Finding) -> str:
    return ", ".join(f"{k} {v}" for k, v in finding.figures.items() if not isinstance(v, float))


def _searches(_: Sequence[Finding]) -> Columns:
    return [
        ("p50, ms", _number("p50_ms", 3)),
        ("p99, ms", _number("p99_ms", 3)),
        ("same hits and cosines", _number("same", 4)),
        ("of the nearest found", _number("found", 4)),
        ("recall as the index measured it", _number("recall", 4)),
        ("of", lambda one: one.note),
    ]


def _memories(_: Sequence[Finding]) -> Columns:
    return [("peak, MiB", _number("peak_mib", 0)), ("how", lambda one: one.note)]


def _made(_: Sequence[Finding]) -> Columns:
    return [("seconds", _number("seconds")), ("how", lambda one: one.note)]


_TABLES: Sequence[tuple[str, Kind, Callable[[Sequence[Finding]], Columns]]] = (
    ("What the card can do:", "limit", _limits),
    ("Against float32 torch on the CPU:", "parity", _parities),
    ("Items a second by batch, from host to host; shares are of what the card can do:", "rate", _rates),
    ("Training steps:", "training", _trainings),
    ("Through the server, one item a request:", "serving", _servings),
    ("Made on the way:", "made", _made),
    ("Search:", "search", _searches),
    ("Memory of the card:", "memory", _memories),
)


def _table(columns: Columns, rows: Sequence[Finding]) -> str:
    """Columns in which no row has anything are left out."""
    cells = [[cell(row).replace("|", "/") for _, cell in columns] for row in rows]
    used = [i for i in range(len(columns)) if any(line[i] for line in cells)]
    head = ["", *(columns[i][0] for i in used)]
    lines = [head, ["---", *("---:" for _ in used)]]
    lines += [[row.name, *(line[i] for i in used)] for row, line in zip(rows, cells, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
