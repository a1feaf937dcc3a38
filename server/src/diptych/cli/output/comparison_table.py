"""Print a comparison of two versions."""

from diptych.cli.output.console import Align, cell, err, out, out_table
from diptych_client import ChangedQuery, CollectionComparison, ComparedLabels, Comparison

N_SHOWN = 5  # queries of one collection; the page and the JSON have all
N_IDS = 3
ID_CHARS = 20

LABELS_HEADER = ("collection", "label set", "reviewed", "old agrees", "new agrees", "gained", "lost", "")
HEADER = ("collection", "old", "new", "images", "coverage", "overlap@10", "queries")


def print_comparison(comparison: Comparison) -> None:
    """Print a table of the collections, one of label sets, and the queries of each that change most."""
    align: list[Align] = ["left", "left", "left", "right", "right", "right", "right"]
    out_table(list(HEADER), [figures(one) for one in comparison.collections], align)
    for line in parity_lines(comparison):
        out(line)
    if labels := label_figures(comparison):
        out()
        align = ["left", "left", "right", "right", "right", "right", "right", "left"]
        out_table(list(LABELS_HEADER), labels, align)
    for one in comparison.collections:
        _print_changed(one)
    for reason in comparison.unmet:
        err(f"refused: {reason}")


def figures(one: CollectionComparison) -> list[str]:
    """The cells of a collection, in the order of HEADER."""
    return [
        one.collection,
        "" if one.old is None else str(one.old),
        str(one.new),
        f"{one.n_images:,}",
        f"{one.coverage:.1%}",
        "" if one.overlap_at_10 is None else f"{one.overlap_at_10:.3f}",
        f"{one.n_queries:,}",
    ]


def label_figures(comparison: Comparison) -> list[list[str]]:
    """The cells of label sets that were reviewed, in the order of LABELS_HEADER."""
    return [_of_labels(one.collection, labels) for one in comparison.collections for labels in one.labels]


def _of_labels(collection: str, labels: ComparedLabels) -> list[str]:
    numbers = (labels.n, labels.n_agree_old, labels.n_agree_new, labels.n_gained, labels.n_lost)
    return [
        collection,
        labels.label_set,
        *(f"{n:,}" for n in numbers),
        "agrees less" if labels.agrees_less else "",
    ]


def parity_lines(comparison: Comparison) -> list[str]:
    """One line for each new version and precision: what was proven on the machine of the server."""
    return [
        f"{new} reproduces its golden outputs on the server: "
        f"every cosine is at least {new.golden_cosine_min:g}"
        for new in dict.fromkeys(one.new for one in comparison.collections)
    ]


def name_of(query: ChangedQuery) -> str:
    """The text or id that was searched for."""
    return f"image {query.id}" if query.text is None else query.text


def _print_changed(one: CollectionComparison) -> None:
    if not one.changed:
        return
    out()
    out(f"queries that change most in {cell(one.collection)}")
    rows = [
        [f"{query.overlap:.1f}", name_of(query), _first(query.old), _first(query.new)]
        for query in one.changed[:N_SHOWN]
    ]
    out_table(["overlap", "query", "first before", "first now"], rows, ["right", "left", "left", "left"])


def _first(ids: tuple[str, ...]) -> str:
    return ", ".join(id if len(id) <= ID_CHARS else f"{id[: ID_CHARS - 1]}…" for id in ids[:N_IDS])
