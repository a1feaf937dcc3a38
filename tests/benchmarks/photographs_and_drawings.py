"""How well bundles name photographs, and find drawings and photographs in one collection.

Photographs: the folders that `diptych-train data photographs` writes. Drawings: those of `server/gallery`.
Each name is a query once, those of photographs in both collections twice: alone, and as "a photo of a ...".
A hit is right if the first picture has that name. Prints one markdown table, and
for a model of photographs and drawings the paired difference to its classifier alone (ConSE, Norouzi et al.
2014): the first numbers of its embeddings, which are of photographs.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import GALLERY, gallery_items
from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.benchmark.data_sets.pictures import FilePictures, StoredFile
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from diptych_training.export.onnx.bundle_files import MODEL_FILE
from diptych_training.models import ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.paths import cache_dir
from support.documents import ROOT

Rows = NDArray[np.float32]
COLUMNS = (
    "photographs top-1 / top-5",
    "ten labels",
    "drawings",
    "both: drawings",
    "both: photographs",
    "both: photographs, asked for as such",
)
PHOTOGRAPH = "a photo of a {}"
BATCH_SIZE = 16
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Pictures:
    """Embeddings (N, D) and the name of each."""

    rows: Rows
    names: Sequence[str]

    def joined(self, other: "Pictures") -> "Pictures":
        """Both in one collection."""
        return Pictures(np.concatenate([self.rows, other.rows]), [*self.names, *other.names])


def embedded(model: EvaluatedModel, files: Sequence[tuple[Path, str]]) -> Pictures:
    """Open and embed pictures, each with its name, as the server does."""
    pictures = FilePictures(tuple(StoredFile(file) for file, _ in files))
    batches = pictures.batches(model.image_spec, BATCH_SIZE)
    rows = np.concatenate([model.encoder.encode_image(batch) for batch in batches])
    return Pictures(rows, [name for _, name in files])


def photographs(folder: Path) -> list[tuple[Path, str]]:
    """Files in folders of classes."""
    return [
        (file, file.parent.name.replace("_", " "))
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in ENDINGS
    ]


def drawings(gallery: Path) -> list[tuple[Path, str]]:
    """The drawings of the gallery."""
    return [(file, one["name"]) for file, one in gallery_items(gallery) if one["kind"] == "drawing"]


@dataclass(frozen=True)
class Paired:
    """How many of `n` pictures both name right, and only one of them does."""

    n: int
    n_both: int
    n_first_only: int
    n_second_only: int

    @property
    def difference(self) -> float:
        """The top-1 of the first less that of the second."""
        return (self.n_first_only - self.n_second_only) / self.n

    @property
    def standard_error(self) -> float:
        """Of the difference, as that of a mean of -1, 0 and 1 over the pictures."""
        mean_square = (self.n_first_only + self.n_second_only) / self.n
        return math.sqrt((mean_square - self.difference**2) / self.n)


def paired(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare two models' right answers (N,) on the same pictures."""
    only_first, only_second = (int((one & ~other).sum()) for one, other in ((first, second), (second, first)))
    return Paired(len(first), int((first & second).sum()), only_first, only_second)


def ranks(rows: Rows, texts: Rows, own: Sequence[int]) -> NDArray[np.int64]:
    """(N, D), (M, D) and the text of each picture -> (N,): the place of that text, from 0."""
    scores = rows @ texts.T  # (N, M)
    of_own = scores[np.arange(len(scores)), own]
    places: NDArray[np.int64] = (scores > of_own[:, None]).sum(axis=1, dtype=np.int64)
    return places


def first_numbers(rows: Rows, dims: int) -> Rows:
    """(N, D) -> (N, dims) of unit norm."""
    part = rows[:, :dims]
    unit: Rows = part / np.linalg.norm(part, axis=1, keepdims=True)
    return unit


def against_classifier_alone(model: EvaluatedModel, pictures: Pictures, dims: int) -> str:
    """The paired difference between the model and the first `dims` numbers of its embeddings."""
    names = sorted(set(pictures.names))
    own, texts = [names.index(name) for name in pictures.names], _texts(model, names)
    whole = ranks(pictures.rows, texts, own) == 0
    alone = ranks(first_numbers(pictures.rows, dims), first_numbers(texts, dims), own) == 0
    found = paired(whole, alone)
    return (
        f"{model.name} against its classifier alone ({dims} numbers), top-1 of {found.n} photographs: "
        f"{whole.mean():.3f} against {alone.mean():.3f}; {found.n_first_only} are right only with "
        f"drawings, {found.n_second_only} only without: {found.difference:+.3f} with a standard error of "
        f"{found.standard_error:.3f}"
    )


def top_k(model: EvaluatedModel, pictures: Pictures, k: int) -> float:
    """The share of pictures whose own name is among the first k of all names."""
    names = sorted(set(pictures.names))
    own = [names.index(name) for name in pictures.names]
    return float((ranks(pictures.rows, _texts(model, names), own) < k).mean())


def first_hits(
    model: EvaluatedModel, collection: Pictures, queries: Sequence[str], template: str = "{}"
) -> float:
    """The share of names, each inside the template, whose first hit has that name."""
    best = (_texts(model, [template.format(query) for query in queries]) @ collection.rows.T).argmax(axis=1)
    return float(np.mean([collection.names[row] == name for row, name in zip(best, queries, strict=True)]))


def _texts(model: EvaluatedModel, names: Sequence[str]) -> Rows:
    return embed_texts(model.encoder, model.tokenizer, names)


def photograph_dim(bundle: Path) -> int | None:
    """How many numbers of a model of photographs and drawings are of photographs; None for other models."""
    if not (bundle / MODEL_FILE).is_file():
        return None  # of an import without weights
    image = ModelConfig.model_validate_json((bundle / MODEL_FILE).read_bytes()).image
    return image.photograph_dim if isinstance(image, PhotographsAndDrawingsConfig) else None


def measured(model: EvaluatedModel, shown: Pictures, everyday: Pictures, drawn: Pictures) -> list[str]:
    """The cells of a row of the table."""
    both = drawn.joined(shown)
    names_shown, names_drawn = sorted(set(shown.names)), sorted(set(drawn.names))
    return [
        f"{top_k(model, shown, 1):.3f} / {top_k(model, shown, 5):.3f}",
        f"{top_k(model, everyday, 1):.3f}",
        f"{first_hits(model, drawn, names_drawn):.3f}",
        f"{first_hits(model, both, names_drawn):.3f}",
        f"{first_hits(model, both, names_shown):.3f}",
        f"{first_hits(model, both, names_shown, PHOTOGRAPH):.3f}",
    ]


def main() -> None:
    """Measure the bundles of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", metavar="NAME[/V]")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    parser.add_argument("--photographs", type=Path, default=cache_dir() / "photographs")
    parser.add_argument("--gallery", type=Path, default=GALLERY)
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    differences = []
    print(f"| model | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in args.bundles:
        version = named_bundle(repository, name)
        model = load_evaluated_bundle(repository, *version, precision=args.precision)
        shown, everyday = (
            embedded(model, photographs(args.photographs / part)) for part in ("gcompris", "everyday")
        )
        drawn = embedded(model, drawings(args.gallery))
        print(f"| {model.name} | {' | '.join(measured(model, shown, everyday, drawn))} |", flush=True)
        dims = photograph_dim(repository.folder(*version))
        if dims is not None:
            differences.append(against_classifier_alone(model, shown, dims))
    print("".join(f"\n{line}" for line in differences))


if __name__ == "__main__":
    main()
