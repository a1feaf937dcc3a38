"""What was measured of the store, as Markdown."""

from collections.abc import Mapping, Sequence

from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.measures import median
from benchmarks.store.adding import Way
from benchmarks.store.rows import BATCH, DIM, FILTERS, PAGE, Found

BULK_BAR, ROWS_BAR = 0.9, 5_000


def report(
    command: str,
    day: str,
    added: Mapping[Way, Sequence[float]],
    vectors: Sequence[float],
    rows: Sequence[Found],
) -> str:
    """All tables."""
    return "\n\n".join(
        [
            f"`{command}`, {day}, commit {commit()}. {machine()}. {versions()}. The default model;"
            " photographs of 640 x 480, all distinct; the two take turns, median of the rounds (best).",
            adding_table(added),
            vectors_line(vectors),
            f"Rows with ready-made vectors of {DIM} numbers and five metadata fields, by the adapters alone;"
            f" written {BATCH:,} at a time, each batch in the index and answered once its commit is fsynced.",
            rows_table(rows),
        ]
    )


def adding_table(added: Mapping[Way, Sequence[float]]) -> str:
    """Each number of clients and images: encoded only, added, and the ratio of the two."""
    lines = [
        "| images/s | encoded only (`/embed`) | added | added, files not kept | ratio | ratio, not kept |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for per_request, clients in dict.fromkeys((way.per_request, way.clients) for way in added):
        encode, original, none = (
            next(rates for way, rates in added.items() if way == Way(what, per_request, clients))
            for what in ("encode", "original", "none")
        )
        ratios = (_ratio(kept, encode, barred=per_request > 1) for kept in (original, none))
        what = f"{per_request} an add" if per_request > 1 else "one an add"
        cells = [f"{what}, clients: {clients}", *map(_rate, (encode, original, none)), *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(kept: Sequence[float], encoded: Sequence[float], *, barred: bool) -> str:
    """Round by round, so that both had the same machine."""
    ratio = median([one / other for one, other in zip(kept, encoded, strict=True)])
    return f"{ratio:.2f}{_bar(ratio >= BULK_BAR, f'>= {BULK_BAR}') if barred else ''}"


def vectors_line(vectors: Sequence[float]) -> str:
    """Over HTTP."""
    middle = median(vectors)
    return (
        f"Ready-made vectors over HTTP, one client, {BATCH:,} a request: {middle:,.0f} rows/s in the median"
        f"{_bar(middle >= ROWS_BAR, f'>= {ROWS_BAR:,}')}, {min(vectors):,.0f} in the slowest request."
    )


def rows_table(rows: Sequence[Found]) -> str:
    """One column for each number of rows."""
    columns = [
        ("written, rows/s, median batch", [_rows_per_second(found) for found in rows]),
        ("written, rows/s, slowest batch", [f"{min(found.put_rows_s):,.0f}" for found in rows]),
        ("database, MB", [f"{found.database_bytes / 1e6:,.1f}" for found in rows]),
        ("start: open and check the database, s", [f"{found.open_s:.2f}" for found in rows]),
        ("start: vectors into the index, s", [f"{found.fill_s:.2f}" for found in rows]),
        (f"list, a page of {PAGE} in the middle, ms", [f"{found.page_ms:.1f}" for found in rows]),
    ]
    for name in FILTERS:
        cells = [f"{found.filters[name][0] * 1000:,.0f} ({found.filters[name][1]:,})" for found in rows]
        columns.append((f"filter: {name}, ms (rows that pass)", cells))
    head = [
        f"| rows | {' | '.join(f'{found.n_rows:,}' for found in rows)} |",
        "|---|" + "---:|" * len(rows),
    ]
    return "\n".join(head + [f"| {name} | {' | '.join(cells)} |" for name, cells in columns])


def _rows_per_second(found: Found) -> str:
    middle = median(found.put_rows_s)
    return f"{middle:,.0f}{_bar(middle >= ROWS_BAR, f'>= {ROWS_BAR:,}')}"


def _bar(met: bool, bound: str) -> str:
    return f" ({bound}: {'yes' if met else '**no**'})"


def _rate(values: Sequence[float]) -> str:
    return f"{median(values):,.0f} ({max(values):,.0f})"
