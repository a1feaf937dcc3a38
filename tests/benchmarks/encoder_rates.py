"""What an image and a text cost in bundles, beside each other.

    python -m benchmarks.encoder_rates everyday pictograms/5 --model-repo DIR

One item at a time on one thread, under the server's session options. The graphs take turns, so that a busy
machine slows all of them alike; a figure is the median over the turns. Prints one markdown table.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from diptych.adapters.onnxruntime.session import open_session
from diptych.bundle.manifest import read_manifest
from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.evaluated_model import named_bundle
from support.documents import ROOT

TURNS, WARM_UP = 60, 5
N_TOKENS = 6  # a name of a few words
Encode = Callable[[], object]


def encoders(folder: Path, title: str) -> dict[tuple[str, str], Encode]:
    """A call for each tower in each precision of a bundle, by (title of the row, tower)."""
    manifest = read_manifest(folder)
    size = manifest.image.size
    rng = np.random.default_rng(1)
    inputs = {
        "image": rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8),
        "text": rng.integers(4, 100, (1, N_TOKENS), dtype=np.int32),
    }
    found: dict[tuple[str, str], Encode] = {}
    for precision in manifest.precisions:
        ending = "" if precision == "fp32" else f".{precision}"
        for tower, given in inputs.items():
            session = open_session(folder / f"{tower}_encoder{ending}.onnx", n_threads=1, device="cpu")
            name = session.get_inputs()[0].name
            found[f"{title}, {precision}", tower] = lambda s=session, n=name, x=given: s.run(None, {n: x})
    return found


def milliseconds(encode: Encode) -> float:
    """Of one call."""
    started = time.perf_counter()
    encode()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    """Measure the bundles of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", metavar="NAME[/V]")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    every: dict[tuple[str, str], Encode] = {}
    for name in args.bundles:
        model, version = named_bundle(repository, name)
        every |= encoders(repository.folder(model, version), f"`{model}` {version}")
    taken = [{key: milliseconds(encode) for key, encode in every.items()} for _ in range(WARM_UP + TURNS)]
    print("| model | image, ms | text, ms |\n|---|---:|---:|")
    for row in dict.fromkeys(row for row, _ in every):
        cells = [median(turn[row, tower] for turn in taken[WARM_UP:]) for tower in ("image", "text")]
        print(f"| {row} | {cells[0]:.1f} | {cells[1]:.2f} |")


if __name__ == "__main__":
    main()
