"""How well relevance tells what fits, on galleries of several kinds and sizes.

A hit is right if it has the name that was searched for, or one of those that `wide_queries.json` has for a
word such as "fruit". For each gallery: F1 of the hits that are shown, as a share of the best F1 that any
number of hits could have (the oracle chooses it for each query), and how many hits each query of
`absurd_queries.txt` shows; both lists were written down before anything was measured. The same for searches
by a picture, where right is another picture of the same name, and absurd a picture of a name that is not
there. Then texts inside templates in the sample gallery, where right is also of the kind that the template
asks for; how reliable relevance is, and whether some pictures are hubs. Prints markdown tables; `--figure`
draws the reliability.

PYTHONPATH=tests python -m benchmarks.relevance --bundle everyday --data ~/.cache/diptych/pictograms
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.inputs import GALLERY, gallery_items
from benchmarks.routing import TEMPLATES
from diptych.bundle.calibration import (
    RECOMMENDED_RELEVANCE,
    Calibration,
    QueryKind,
    calibration_file,
    read_calibration,
)
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import PackedDataset, Split, read_dataset
from diptych_training.evaluate.calibrate.fit import BINS, MEASURED_HITS, calibration_error
from diptych_training.evaluate.embedding import embed_images, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from diptych_training.evaluate.proof_set.samples import even_shares
from support.default_model import DEFAULT_MODEL
from support.documents import ROOT

ABSURD = Path(__file__).with_name("absurd_queries.txt")
WIDE = Path(__file__).with_name("wide_queries.json")  # words, and the names in the sample gallery they mean
N_HITS = 200  # that are looked at
CUT = RECOMMENDED_RELEVANCE
CUTS = (0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
COSINES = np.arange(0.0, 1.0, 0.01)
SIZES = (1_000, 10_000, 100_000)
N_QUERIES = 600
N_PICTURE_QUERIES = 300
NOISE = 0.1  # norm of what is added to a row where there are too few pictures
INK, LINE = "#333333", "#1f5f8f"

Rows = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Pictures:
    """Embeddings (N, D) and the name of each."""

    rows: Rows
    names: NDArray[np.str_]

    def of(self, chosen: NDArray[np.intp] | Bools) -> "Pictures":
        """Some of them."""
        return Pictures(self.rows[chosen], self.names[chosen])

    def joined(self, other: "Pictures") -> "Pictures":
        """Both in one collection."""
        return Pictures(np.concatenate([self.rows, other.rows]), np.concatenate([self.names, other.names]))


@dataclass(frozen=True)
class Ranked:
    """The best hits of Q queries: cosines and whether they are right, (Q, K); relevance (Q, K)."""

    cosines: Rows
    relevance: NDArray[np.float64]
    right: Bools
    n_right: NDArray[np.int64]  # (Q,), in the whole gallery


@dataclass(frozen=True)
class Model:
    """A bundle with its calibration."""

    encoder: EvaluatedModel
    calibration: Calibration

    def texts(self, texts: Sequence[str]) -> Rows:
        """Embed texts."""
        return embed_texts(self.encoder.encoder, self.encoder.tokenizer, list(texts))


def ranked(
    calibration: Calibration,
    kind: QueryKind,
    queries: Rows,
    rows: Rows,
    right: Bools,
    own: NDArray[np.intp] | None = None,
) -> Ranked:
    """Search rows (N, D) with queries (Q, D); `right` is (Q, N). `own` are the rows that are the queries."""
    cosines, relevance, order = [], [], []
    for i, query in enumerate(queries):
        found = rows @ query
        if own is not None:
            found[own[i]] = -np.inf  # a picture does not find itself
        n_images = len(rows) - (own is not None)
        best = np.argsort(-found, kind="stable")[: min(N_HITS, n_images)]
        judged = calibration.relevance(
            kind, query, found[best], best=float(found[best[0]]), n_images=n_images
        )
        assert judged is not None, f"there is no map for {kind} queries"
        cosines.append(found[best])
        relevance.append(judged)
        order.append(best)
    return Ranked(
        np.stack(cosines),
        np.stack(relevance),
        np.take_along_axis(right, np.stack(order), axis=1),
        right.sum(axis=1),
    )


def f1_of_prefixes(one: Ranked) -> NDArray[np.float64]:
    """F1 of the first 1, 2, ... hits of each query: (Q, K)."""
    n_shown = np.arange(1, one.right.shape[1] + 1)
    found: NDArray[np.float64] = 2 * one.right.cumsum(axis=1) / (n_shown + one.n_right[:, None])
    return found


def mean_f1(one: Ranked, is_shown: Bools) -> float:
    """Mean F1 where the hits `is_shown` (Q, K) are the first ones; an empty answer has none."""
    n_shown = is_shown.sum(axis=1)
    scores = f1_of_prefixes(one)[np.arange(len(n_shown)), np.maximum(n_shown, 1) - 1]
    return float(np.where(n_shown > 0, scores, 0).mean())


@dataclass(frozen=True)
class Gallery:
    """One collection, the queries that it answers, and the absurd ones."""

    title: str
    n_images: int
    by_names: Ranked
    by_absurd: Ranked

    @property
    def oracle(self) -> float:
        """The mean of the best F1 of each query."""
        return float(f1_of_prefixes(self.by_names).max(axis=1).mean())

    def ratio(self, shown: Callable[[Ranked], Bools]) -> tuple[float, float]:
        """F1 as a share of the oracle's, and hits of an absurd query."""
        absurd = float(shown(self.by_absurd).sum(axis=1).mean())
        return mean_f1(self.by_names, shown(self.by_names)) / self.oracle, absurd

    def shown(self) -> tuple[float, float]:
        """Hits above CUT of a query, and how many of them are right."""
        is_shown = self.by_names.relevance >= CUT
        right = is_shown & self.by_names.right
        return float(is_shown.sum(axis=1).mean()), float(right.sum(axis=1).mean())


def gallery(
    model: Model,
    title: str,
    pictures: Pictures,
    names: Sequence[str],
    absurd: Rows,
    meant: Mapping[str, Sequence[str]] | None = None,
) -> Gallery:
    """Search pictures by some of their names, or by words that have names in `meant`."""
    right = np.stack([np.isin(pictures.names, [name] if meant is None else meant[name]) for name in names])
    none = np.zeros((len(absurd), len(pictures.rows)), bool)
    return Gallery(
        title,
        len(pictures.rows),
        ranked(model.calibration, "text", model.texts(names), pictures.rows, right),
        ranked(model.calibration, "text", absurd, pictures.rows, none),
    )


def gallery_by_pictures(
    model: Model, title: str, pictures: Pictures, names: Sequence[str], strangers: Pictures
) -> Gallery:
    """Search pictures by some of those that have one of these names; `strangers` have names of their own."""
    rng = np.random.default_rng(0)
    own = np.sort(rng.permutation(np.flatnonzero(np.isin(pictures.names, names)))[:N_PICTURE_QUERIES])
    right = pictures.names[own][:, None] == pictures.names[None]
    right[np.arange(len(own)), own] = False
    none = np.zeros((len(strangers.rows), len(pictures.rows)), bool)
    return Gallery(
        title,
        len(pictures.rows),
        ranked(model.calibration, "image", pictures.rows[own], pictures.rows, right, own),
        ranked(model.calibration, "image", strangers.rows, pictures.rows, none),
    )


def sample_gallery(model: EvaluatedModel, folder: Path) -> tuple[Pictures, Bools]:
    """The pictures of `server/gallery`, and which are drawings."""
    files, items = zip(*gallery_items(folder), strict=True)
    pixels = np.stack([load_pixels(file.read_bytes(), model.image_spec, ImageLimits()) for file in files])
    rows = [model.encoder.encode_image(pixels[start : start + 32]) for start in range(0, len(pixels), 32)]
    is_drawing = np.array([item["kind"] == "drawing" for item in items])
    return Pictures(np.concatenate(rows), np.array([item["name"] for item in items])), is_drawing


def packed(
    model: EvaluatedModel, dataset: PackedDataset, split: Split, n: int, keep: Path | None
) -> Pictures:
    """About n pictures of a split, as many of each source; `keep` is a folder for their embeddings."""
    listed = dataset.listed(split)
    found = []
    for (name, entry), count in zip(listed, even_shares([one.n for _, one in listed], n), strict=True):
        file = None if keep is None else keep / f"{model.identity[:12]}-{split}-{name}-{count}.npz"
        if file is not None and file.is_file():
            with np.load(file) as arrays:
                found.append(Pictures(arrays["rows"], arrays["names"]))
            continue
        source = dataset.source(name)
        chosen = np.sort(np.random.default_rng(0).choice(entry.n, count, replace=False))
        rows = embed_images(model.encoder, source.images[chosen], model.image_spec, batch_size=64)
        one = Pictures(rows, np.array([source.items[index].label for index in chosen]))
        if file is not None:
            keep.mkdir(parents=True, exist_ok=True)
            np.savez(file, rows=one.rows, names=one.names)
        found.append(one)
    return Pictures(np.concatenate([one.rows for one in found]), np.concatenate([one.names for one in found]))


def galleries(
    model: Model, own: Pictures, is_drawing: Bools, held_out: Pictures
) -> tuple[list[Gallery], list[Gallery]]:
    """Galleries with one, about four and many right pictures a name, alone and among others.

    Searched by words, and those with several right pictures by pictures.
    """
    rng = np.random.default_rng(7)
    absurd = model.texts(ABSURD.read_text(encoding="utf-8").splitlines())
    counts = Counter(held_out.names.tolist())
    several = rng.permutation(sorted(name for name, n in counts.items() if 3 <= n <= 8))[:200]
    many = rng.permutation(sorted(name for name, n in counts.items() if n >= 9))[:100]
    taken = {*own.names.tolist(), *several.tolist(), *many.tolist()}
    others = held_out.of(rng.permutation(np.flatnonzero([name not in taken for name in held_out.names])))
    drawings = own.of(is_drawing)
    mixed, crowd = (held_out.of(np.isin(held_out.names, chosen)) for chosen in (several, many))
    n_others = [min(n, len(others.rows)) for n in (10_000, 5_000)]
    among = [others.of(np.arange(n)) for n in n_others]
    n_strangers = min(N_PICTURE_QUERIES, len(others.rows) // 10)
    strangers = others.of(np.arange(len(others.rows) - n_strangers, len(others.rows)))
    wanted = [
        ("sample gallery", own, sorted(set(own.names.tolist()))),
        ("its drawings", drawings, drawings.names.tolist()),
        (f"its drawings, among {n_others[0]:,}", drawings.joined(among[0]), drawings.names.tolist()),
        ("several of each name", mixed, several.tolist()),
        (f"the same among {n_others[1]:,}", mixed.joined(among[1]), several.tolist()),
    ]
    if len(many) >= 20:
        wanted.append(("many of each name", crowd, many.tolist()))
        wanted.append((f"the same among {n_others[1]:,}", crowd.joined(among[1]), many.tolist()))
    by_words = [gallery(model, title, pictures, names, absurd) for title, pictures, names in wanted]
    meant = json.loads(WIDE.read_text(encoding="utf-8"))
    by_words.append(gallery(model, "sample gallery, wide words", own, list(meant), absurd, meant))
    foreign = strangers.of(~np.isin(strangers.names, among[1].names))
    by_pictures = [
        gallery_by_pictures(model, title, pictures, names, foreign) for title, pictures, names in wanted[3:]
    ]
    return by_words, by_pictures


def table_of_galleries(found: Sequence[Gallery]) -> str:
    """One row a gallery."""
    cut = best_cosine(found)
    lines = [
        "| gallery | pictures | right | oracle F1 | best hit only | "
        f"cosine ≥ {cut:.2f} | relevance ≥ {CUT} | shown, right |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        first = one.ratio(is_best)
        cosine = one.ratio(lambda ranked: ranked.cosines >= cut)
        relevance = one.ratio(lambda ranked: ranked.relevance >= CUT)
        cells = [f"{ratio:.2f}, {absurd:.2f}" for ratio, absurd in (first, cosine, relevance)]
        cells.append(", ".join(f"{count:.1f}" for count in one.shown()))
        right = f"{one.by_names.n_right.mean():.1f}"
        lines.append(f"| {one.title} | {one.n_images:,} | {right} | {one.oracle:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_cuts(found: Sequence[Gallery]) -> str:
    """One row a bound."""
    titles = " | ".join(one.title for one in found)
    lines = [f"| relevance | {titles} |", f"|---{'|---:' * len(found)}|"]
    for cut in CUTS:
        cells = [one.ratio(lambda ranked, cut=cut: ranked.relevance >= cut) for one in found]
        lines.append(f"| ≥ {cut} | {' | '.join(f'{ratio:.2f}, {absurd:.2f}' for ratio, absurd in cells)} |")
    return "\n".join(lines)


def is_best(ranked: Ranked) -> Bools:
    """The best hit of each query."""
    first: Bools = np.zeros_like(ranked.right)
    first[:, 0] = True
    return first


def best_cosine(found: Sequence[Gallery]) -> float:
    """The bound on the cosine with the best mean ratio, with at most one hit of an absurd query anywhere."""

    def mean_ratio(cut: float) -> float:
        results = [one.ratio(lambda ranked: ranked.cosines >= cut) for one in found]
        return -1.0 if max(absurd for _, absurd in results) > 1 else float(np.mean([r for r, _ in results]))

    return float(max(COSINES, key=mean_ratio))


@dataclass(frozen=True)
class Reliability:
    """Predicted and observed relevance in bins, for a collection of `n` pictures."""

    n: int
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float


def judged(
    model: Model, queries: Rows, right: Bools, rows: Rows
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Relevance of the best hits, and whether they are right; searches with and without what is right."""
    predicted, actual = [], []
    for query, is_right in zip(queries, right, strict=True):
        without = np.zeros((~is_right).sum(), bool)
        for searched, there in ((rows, is_right), (rows[~is_right], without)):
            one = ranked(model.calibration, "text", query[None], searched, there[None])
            predicted.append(one.relevance[0, :MEASURED_HITS])
            actual.append(one.right[0, :MEASURED_HITS])
    return np.concatenate(predicted), np.concatenate(actual)


def reliability(model: Model, pictures: Pictures, rng: np.random.Generator) -> Reliability:
    """Search by names, as often for what is there as for what was taken away."""
    names = rng.permutation(np.unique(pictures.names))[:N_QUERIES]
    flat, truth = judged(
        model, model.texts(names.tolist()), names[:, None] == pictures.names[None], pictures.rows
    )
    bins = np.clip(np.digitize(flat, BINS) - 1, 0, len(BINS) - 2)
    counts = np.bincount(bins, minlength=len(BINS) - 1)
    safe = np.maximum(counts, 1)
    return Reliability(
        len(pictures.rows),
        np.bincount(bins, flat, len(BINS) - 1) / safe,
        np.bincount(bins, truth.astype(float), len(BINS) - 1) / safe,
        counts,
        calibration_error(flat, truth),
    )


def table_of_templates(model: Model, own: Pictures, is_drawing: Bools) -> str:
    """One row a template: hits of all names together, hits of an absurd query, and the error of relevance."""
    absurd = ABSURD.read_text(encoding="utf-8").splitlines()
    lines = [
        f"| texts | names | ≥ 0.5, right | ≥ {CUT}, right | an absurd query ≥ 0.5, ≥ {CUT} | error |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for template, kind in {"{}": None, **TEMPLATES}.items():
        is_kind = np.ones_like(is_drawing) if kind is None else is_drawing == (kind == "drawing")
        names = np.unique(own.names[is_kind])
        queries = model.texts([template.format(name) for name in names])
        right = (names[:, None] == own.names[None]) & is_kind
        found = ranked(model.calibration, "text", queries, own.rows, right)
        texts = model.texts([template.format(text) for text in absurd])
        none = ranked(model.calibration, "text", texts, own.rows, np.zeros((len(texts), len(right[0])), bool))
        shown = [found.relevance >= cut for cut in (0.5, CUT)]
        cells = [f"{one.sum():,}, {(one & found.right).sum():,}" for one in shown]
        cells.append(", ".join(f"{(none.relevance >= cut).sum(axis=1).mean():.2f}" for cut in (0.5, CUT)))
        error = calibration_error(*judged(model, queries, right, own.rows))
        lines.append(f"| `{template}` | {len(names)} | {' | '.join(cells)} | {error:.3f} |")
    return "\n".join(lines)


def enlarged(pictures: Pictures, n: int, rng: np.random.Generator) -> Pictures:
    """n of the pictures; where there are too few, noisy copies with the same names are added."""
    if len(pictures.rows) >= n:
        return pictures.of(rng.permutation(len(pictures.rows))[:n])
    chosen = rng.integers(0, len(pictures.rows), n - len(pictures.rows))
    added = rng.normal(size=(len(chosen), pictures.rows.shape[1])).astype(np.float32)
    rows = pictures.rows[chosen] + NOISE * added / np.linalg.norm(added, axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pictures.joined(Pictures(rows, pictures.names[chosen]))


def draw(path: Path, title: str, found: Sequence[Reliability]) -> None:
    """Write the reliability diagrams, one panel a size, with the number of hits in each bin."""
    figure = Figure(figsize=(3.2 * len(found), 3.6), layout="constrained", dpi=110)
    for axis, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        enough = one.counts >= 10
        axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        axis.plot(one.predicted[enough], one.observed[enough], color=LINE, marker="o", markersize=4)
        for x, y, n in zip(one.predicted[enough], one.observed[enough], one.counts[enough], strict=True):
            axis.annotate(f"{n:,}", (x, y), (3, -9), textcoords="offset points", fontsize=6, color=INK)
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="relevance")
        axis.set_title(f"{one.n:,} pictures, error {one.error:.3f}", fontsize=9, color=INK)
    figure.axes[0].set_ylabel("share of hits that are right")
    figure.suptitle(title, fontsize=10, color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default=DEFAULT_MODEL, metavar="NAME[/V]")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo", metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the packed pictograms")
    parser.add_argument("--gallery", type=Path, default=GALLERY, metavar="DIR")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--pictures", type=int, default=20_000, metavar="N", help="of the data set's eval")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep embeddings here for the next run")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the reliability as PNG")
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    name, version = named_bundle(repository, args.bundle)
    encoder = load_evaluated_bundle(repository, name, version, precision=args.precision, n_threads=1)
    file = calibration_file(repository.folder(name, version))
    model = Model(encoder, read_calibration(file, repository.manifest(name, version)))
    own, is_drawing = sample_gallery(encoder, args.gallery)
    dataset = read_dataset(args.data)
    held_out = packed(encoder, dataset, "eval", args.pictures, args.keep)
    by_words, by_pictures = galleries(model, own, is_drawing, held_out)
    print(f"{encoder.name}: F1 as a share of the oracle's, hits of an absurd query")
    for kind, found in (("words", by_words), ("a picture", by_pictures)):
        print(f"\nby {kind}", table_of_galleries(found), table_of_cuts(found), sep="\n\n")
    print("\nin the sample gallery, inside templates", table_of_templates(model, own, is_drawing), sep="\n\n")
    print(f"\nhubs: {hubs(model, own)}")
    rng = np.random.default_rng(0)
    measured = [reliability(model, enlarged(held_out, n, rng), rng) for n in SIZES]
    print("\n| pictures | error of relevance |\n|---:|---:|")
    for one in measured:
        print(f"| {one.n:,} | {one.error:.3f} |")
    if args.figure is not None:
        draw(args.figure, f"Relevance of {encoder.name}, searches by words", measured)


def hubs(model: Model, own: Pictures, k: int = 10) -> str:
    """How unevenly the k best hits of all names are spread over the pictures (Radovanović et al. 2010)."""
    queries = model.texts(sorted(set(own.names.tolist())))
    best = np.argsort(-(queries @ own.rows.T), axis=1)[:, :k]
    counts = np.bincount(best.ravel(), minlength=len(own.rows)).astype(float)
    skewness = float(((counts - counts.mean()) ** 3).mean() / max(counts.std(), 1e-9) ** 3)
    return (
        f"skewness {skewness:.1f} of how often a picture is among the {k} best; "
        f"the most frequent is there for {counts.max() / len(queries):.1%} of {len(queries)} names, "
        f"{(counts == 0).mean():.0%} of the pictures for none"
    )


if __name__ == "__main__":
    main()
