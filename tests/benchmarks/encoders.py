"""How many images a second a version encodes, pixels in to embedding out, in each of its precisions.

    PYTHONPATH=tests python tests/benchmarks/encoders.py                   # the default model
    PYTHONPATH=tests python tests/benchmarks/encoders.py --model mine/3

The server's own encoder, without server, decoding and queue. Precisions take turns at every batch size; `cpu`
is processor time over wall time: below 1.9 of two cores, the machine was busy. Prints one markdown table.
"""

import argparse
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.serving.machine import commit, machine, versions
from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.bundle.encoder import Pixels
from diptych.bundle.repository import ModelRepository

BATCHES = (1, 8, 32, 64, 128)
WARM_UP_S = 0.3


@dataclass
class Pace:
    """Images a second of each turn, and how much of the machine they had."""

    images_per_s: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, encoder: OnnxEncoder, pixels: Pixels, seconds: float) -> None:
        """One turn of at least so many seconds."""
        wall, cpu, n = time.perf_counter(), time.process_time(), 0
        while (elapsed := time.perf_counter() - wall) < seconds:
            encoder.encode_image(pixels)
            n += len(pixels)
        self.images_per_s.append(n / elapsed)
        self.cpu.append((time.process_time() - cpu) / elapsed)

    def __str__(self) -> str:
        return f"{median(self.images_per_s):,.0f} ({max(self.images_per_s):,.0f}; {median(self.cpu):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="pictograms", help="NAME or NAME/VERSION")
    parser.add_argument("--model-repo", type=Path, default=Path("model_repo"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    args = parser.parse_args()
    name, _, number = args.model.partition("/")
    repository = ModelRepository(args.model_repo)
    version = int(number) if number else repository.latest(name)
    folder, manifest = repository.folder(name, version), repository.verify(name, version)
    encoders = {
        precision: OnnxEncoder(folder / files.image_file, folder / files.text_file)
        for precision, files in manifest.precisions.items()
    }
    rows = []
    for batch in BATCHES:
        shape = (batch, manifest.image.size, manifest.image.size, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        paces = {precision: Pace() for precision in encoders}
        for encoder in encoders.values():
            Pace().add(encoder, pixels, WARM_UP_S)
        for _ in range(args.rounds):
            for precision, encoder in encoders.items():
                paces[precision].add(encoder, pixels, args.seconds)
        rows.append([str(batch), *(str(pace) for pace in paces.values())])
    print(f"{name}/{version}: images/s, median (best; cpu)\n")
    for row in (["batch", *encoders], ["---:"] * (1 + len(encoders)), *rows):
        print("| " + " | ".join(row) + " |")
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, commit {commit()}. {machine()}. {versions()}.")


if __name__ == "__main__":
    main()
