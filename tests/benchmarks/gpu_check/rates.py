"""Items a second of one encoder, from host to host, batch by batch; knows no engine."""

from collections.abc import Callable, Iterator

from benchmarks.gpu_check.clocks import calls_per_s
from benchmarks.gpu_check.findings import Finding
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject
from diptych.bundle.encoder import Encoder


def rates(
    tier: str, name: str, encoder: Encoder, subject: Subject, sizes: Sizes, batches: tuple[int, ...] = ()
) -> Iterator[Finding]:
    """One finding for each tower, with a figure for each of `batches`; `best` is the highest of them."""
    pixels, input_ids = subject.pixels(max(sizes.batches)), subject.input_ids(max(sizes.batches))
    towers: dict[str, Callable[[int], object]] = {
        "images": lambda n: encoder.encode_image(pixels[:n]),
        "texts": lambda n: encoder.encode_text(input_ids[:n]),
    }
    n_bytes = {"images": pixels[0].nbytes, "texts": input_ids[0].nbytes}
    for tower, run in towers.items():
        per_s = {
            n: n * calls_per_s(lambda n=n, run=run: run(n), sizes.seconds) for n in batches or sizes.batches
        }
        best = max(per_s.values())
        figures = {str(n): rate for n, rate in per_s.items()}
        figures |= {"best": best, "tflops": best * subject.gflop[tower] / 1000}
        figures |= {"upload_gb_per_s": best * n_bytes[tower] / 1e9}
        yield Finding(
            tier, "rate", f"{name}, {tower}", figures, note=f"{subject.name}, items a second by batch"
        )
