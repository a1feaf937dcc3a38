"""Compare the ways to int8 on whole encoders: pace, closeness to float32, and what company does to an item.

    python tests/benchmarks/int8_ways.py                       # all four encoders
    python tests/benchmarks/int8_ways.py --only vit-b-32-image

Encoders: a ViT-B/32 dual encoder with seeded random weights and planted outlier channels (its cosines say
little about trained weights, its pace says all), and the default model with its held-out images and names.
Ways: float32; every layer int8 with calibrated scales (`static`), and matrix products with a scale for each
row (`rows`), both by `diptych_training.export.int8`; onnxruntime's MatMulNBits with 8 bits (`blocks`: a scale
for each row and block, but other sums for other batch sizes); and its dynamic quantisation (`dynamic`: one
scale for a whole batch, so that neighbours change an item).
The ways take turns; `cpu` is processor time over wall time: below 1.9 of two cores, the machine was busy.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from PIL import Image
from torch import nn

from diptych.bundle.manifest import ImageSpec, TextSpec, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text import TextTokenizer, pad
from diptych_training.data.packed import read_dataset
from diptych_training.export.graphs import write_image_graph, write_text_graph
from diptych_training.export.int8.model_file import open_file, run, write_model
from diptych_training.export.int8.search import Plan
from diptych_training.export.int8.sites import Products
from diptych_training.export.int8.write import first_plan, prepare
from diptych_training.export.samples import draw_sample

CACHE = Path.home() / ".cache" / "diptych"
BATCHES = (1, 8, 16)
N_CALIBRATION, N_HELD_OUT = 64, 64
SECONDS_A_TURN = 0.4
Arrays = NDArray[np.generic]
IMAGE_SPEC = ImageSpec(
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    resize_mode="shortest",
    crop="round",
    alpha="drop",
)
TEXT_SPEC = TextSpec(
    context_length=77, clean="clip", pad_to="longest", pad_id=49407, prompts={"default": ["{}"]}
)


@dataclass(frozen=True)
class Subject:
    """One float32 graph, inputs to calibrate on, and others to measure on."""

    name: str
    file: Path
    calibration: list[Arrays]
    held_out: Arrays


@dataclass
class Figures:
    """What was measured of one way."""

    session: ort.InferenceSession
    megabytes: float
    paces: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in BATCHES})
    cpu: list[float] = field(default_factory=list)


class RandomClip(nn.Module):
    """A ViT-B/32 dual encoder behind CLIP's two methods, with outlier channels like those of trained ones."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 (slow to import, seldom needed)

        torch.manual_seed(0)
        self.clip = CLIPModel(CLIPConfig()).eval()
        for tower in (self.clip.vision_model, self.clip.text_model):
            for layer in tower.encoder.layers:
                plant_outliers(layer)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) -> (B, 512)."""
        return self.clip.visual_projection(self.clip.vision_model(pixel_values=pixels).pooler_output)

    def encode_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, 512)."""
        return self.clip.text_projection(self.clip.text_model(input_ids=input_ids).pooler_output)


@torch.no_grad()
def plant_outliers(layer: nn.Module) -> None:
    """Four channels of each normalisation, and eight hidden units, get twenty times the others' magnitude."""
    attention, mlp = layer.self_attn, layer.mlp
    for norm, readers in (
        (layer.layer_norm1, (attention.q_proj, attention.k_proj, attention.v_proj)),
        (layer.layer_norm2, (mlp.fc1,)),
    ):
        channels = torch.randperm(norm.weight.numel())[:4]
        norm.weight[channels] *= 20
        for reader in readers:
            reader.weight[:, channels] /= 10
    units = torch.randperm(mlp.fc1.out_features)[:8]
    mlp.fc1.weight[units] *= 20
    mlp.fc2.weight[:, units] /= 10


def vit_subjects() -> Iterator[Subject]:
    """The two towers of the random ViT-B/32, exported once."""
    folder = CACHE / "int8-bench"
    image_file, text_file = folder / "vit-b-32-image.onnx", folder / "vit-b-32-text.onnx"
    if not (image_file.exists() and text_file.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        model = RandomClip()
        write_image_graph(model, IMAGE_SPEC, image_file)
        write_text_graph(model, TEXT_SPEC, text_file)
    drawn = draw_sample(read_dataset(CACHE / "pictograms"), N_CALIBRATION + N_HELD_OUT).images
    order = np.random.default_rng(0).permutation(len(drawn))
    pixels = np.stack([np.asarray(Image.fromarray(drawn[at]).resize((224, 224))) for at in order])
    yield Subject("vit-b-32-image", image_file, _batches(pixels[:N_CALIBRATION]), pixels[N_CALIBRATION:])
    ids = np.random.default_rng(0).integers(300, 40000, (N_CALIBRATION + N_HELD_OUT, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1] = 49406, 49407
    yield Subject("vit-b-32-text", text_file, _batches(ids[:N_CALIBRATION]), ids[N_CALIBRATION:])


def pictogram_subjects() -> Iterator[Subject]:
    """The two towers of the default model, with drawings and names that it never saw."""
    repository = ModelRepository(Path("model_repo"))
    folder = repository.folder("pictograms", repository.latest("pictograms"))
    drawn = draw_sample(read_dataset(CACHE / "pictograms"), N_CALIBRATION + N_HELD_OUT)
    rng = np.random.default_rng(0)
    pixels = drawn.images[rng.permutation(len(drawn.images))]
    image_file, text_file = folder / "image_encoder.onnx", folder / "text_encoder.onnx"
    yield Subject("pictograms-image", image_file, _batches(pixels[:N_CALIBRATION]), pixels[N_CALIBRATION:])
    spec = read_manifest(folder).text
    tokenizer = TextTokenizer(folder / "tokenizer.json", spec)
    ids = pad([tokenizer.ids(drawn.texts[at])[0] for at in rng.permutation(len(drawn.texts))], spec)
    yield Subject("pictograms-text", text_file, _batches(ids[:N_CALIBRATION]), ids[N_CALIBRATION:])


SUBJECTS: tuple[Callable[[], Iterator[Subject]], ...] = (vit_subjects, pictogram_subjects)


def candidates(subject: Subject, folder: Path) -> dict[str, Figures]:
    """A session for each way, float32 first."""
    start = time.perf_counter()
    quantiser = prepare(subject.file, subject.calibration, folder)
    print(f"{subject.name}: {len(quantiser.sites)} layers, prepared in {time.perf_counter() - start:.1f} s")
    files = {way: folder / f"{way}.onnx" for way in ("static", "rows", "blocks", "dynamic")}
    static = first_plan(quantiser)
    rows: Plan = {site.name: "rows" if isinstance(site, Products) else "static" for site in quantiser.sites}
    write_model(quantiser.build(static), files["static"])
    write_model(quantiser.build(rows), files["rows"])
    write_library_ways(subject.file, files["blocks"], files["dynamic"])
    files = {"fp32": subject.file, **files}
    return {way: Figures(open_file(file), file.stat().st_size / 1e6) for way, file in files.items()}


def write_library_ways(source: Path, blocks: Path, dynamic: Path) -> None:
    """What onnxruntime's own tools make of the float32 graph."""
    config = DefaultWeightOnlyQuantConfig(block_size=128, is_symmetric=True, accuracy_level=4, bits=8)
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(blocks))
    kinds = ["MatMul", "Gemm"]
    quantize_dynamic(
        source, dynamic, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=kinds
    )


def measure_paces(ways: dict[str, Figures], items: Arrays, n_rounds: int) -> None:
    """Items a second of each way and batch size, the ways in turns."""
    for figures in ways.values():
        run(figures.session, items[: max(BATCHES)])
    for _ in range(n_rounds):
        for size in BATCHES:
            for figures in ways.values():
                pace, cpu = one_turn(figures.session, items[:size])
                figures.paces[size].append(pace)
                figures.cpu.append(cpu)


def one_turn(session: ort.InferenceSession, batch: Arrays) -> tuple[float, float]:
    """Run one batch for a while -> (items/s, processor time over wall time)."""
    wall, cpu, n = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < SECONDS_A_TURN:
        run(session, batch)
        n += len(batch)
    spent = time.perf_counter() - wall
    return n / spent, (time.process_time() - cpu) / spent


def cosines(
    session: ort.InferenceSession, reference: ort.InferenceSession, items: Arrays
) -> NDArray[np.float32]:
    """(N,) cosine of each item between two graphs."""
    return (run(session, items) * run(reference, items)).sum(axis=1)


def company_cosine(session: ort.InferenceSession, items: Arrays) -> float:
    """The lowest cosine of an item between alone, in a full batch, and in other batches of five."""
    together = run(session, items)
    alone = np.concatenate([run(session, items[at : at + 1]) for at in range(len(items))])
    order = np.random.default_rng(1).permutation(len(items))
    odd = np.concatenate([run(session, items[order[at : at + 5]]) for at in range(0, len(items), 5)])
    beside = odd[np.argsort(order)]
    return min(float((a * b).sum(axis=1).min()) for a, b in ((alone, together), (alone, beside)))


def table(subject: Subject, ways: dict[str, Figures]) -> str:
    """One markdown row for each way: median (best) items/s, and the factor over float32 by the median."""
    base = ways["fp32"]
    head = [f"{subject.name}", *(f"items/s, batch {size}" for size in BATCHES)]
    head += ["cpu", "MB", "cosine mean", "cosine min", "company"]
    rows = [head, ["---"] * len(head)]
    for way, figures in ways.items():
        cells = [way]
        for size in BATCHES:
            now, then = median(figures.paces[size]), median(base.paces[size])
            cells.append(f"{now:.0f} ({max(figures.paces[size]):.0f}) {now / then:.2f}x")
        close = cosines(figures.session, base.session, subject.held_out)
        cells += [f"{median(figures.cpu):.2f}", f"{figures.megabytes:.1f}", f"{close.mean():.5f}"]
        cells += [f"{close.min():.5f}", f"{company_cosine(figures.session, subject.held_out[:20]):.7f}"]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _batches(items: Arrays) -> list[Arrays]:
    return [items[start : start + 16] for start in range(0, len(items), 16)]


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="start of a subject's name")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for subjects in SUBJECTS:
        for subject in subjects():
            if args.only and not subject.name.startswith(args.only):
                continue
            with TemporaryDirectory() as name:
                ways = candidates(subject, Path(name))
                measure_paces(ways, subject.held_out, args.rounds)
                print(table(subject, ways), flush=True)


if __name__ == "__main__":
    main()
