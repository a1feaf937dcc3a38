"""Decode many damaged files beside good ones as the server does, and count the outcomes.

`PYTHONPATH=tests python -m support.hostile.fuzzing --n 100000` prints the table. `--progress FILE` keeps the
counts there, so that the same command continues a run. It fails if a good file gets other pixels than it gets
alone, if a damaged one gives anything but pixels or an InputError, or if this process dies or hangs. The last
line of output then names the seeds.
"""

import argparse
import asyncio
import faulthandler
import json
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.adapters.images.decoder_child import ChildLimits
from diptych.adapters.images.decoder_processes import DecoderProcesses
from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.manifest import ImageSpec
from diptych.core.types import DecodedImage
from diptych.errors import InputError
from support.hostile.corpus import good_files
from support.hostile.mutations import FORMATS, HEIC, mutated

SPEC = ImageSpec(
    size=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    interpolation="bicubic",
    resize_mode="longest",
    crop="round",
    alpha="white",
)
LIMITS = ImageLimits(max_bytes=1_000_000, max_px=1_000_000, guard=IMAGE_GUARD)
CHILD_LIMITS = ChildLimits(memory_bytes=300_000_000, cpu_s=2, wall_s=60)
THUMBNAIL_PX = 16
MAX_MEMORY_BYTES = 4_000_000_000  # of address space
HANGS_AFTER_S = 300  # of a batch
BATCH = 16  # damaged files in one call, with a good one of each format
STEP = 100  # batches between two lines of progress
ENDED = "process ended"


class Fuzzing:
    """A decoder, the pixels of good files when decoded alone, and the counts of outcomes."""

    def __init__(self, formats: Sequence[str]) -> None:
        self._formats = formats
        self._workers = ImageWorkers(LIMITS, n_threads=2, processes=DecoderProcesses(CHILD_LIMITS, 2))
        self._decoder = self._workers.decoder(SPEC)
        self._good = good_files()[: len(FORMATS)]
        self._alone = [self._pixels(outcome) for file in self._good for outcome in self._decode([file])]
        self.outcomes: Counter[tuple[str, str]] = Counter()  # of format and outcome
        self.failures: list[str] = []

    def run(self, seeds: Sequence[int]) -> None:
        """Decode the files of these seeds and the good ones in one call, and make a thumbnail of each."""
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True, file=sys.__stderr__)
        made = [mutated(seed, self._formats) for seed in seeds]
        files = [file for _, file in made]
        outcomes = self._decode([*files, *self._good])
        for file, pixels, outcome in zip(self._good, self._alone, outcomes[len(files) :], strict=True):
            if not np.array_equal(self._pixels(outcome), pixels):
                self.failures.append(f"seeds from {seeds[0]}: good file {file[:12]!r} beside them: {outcome}")
        thumbnails = asyncio.run(self._thumbnails(files))
        for seed, (form, _), outcome, thumbnail in zip(seeds, made, outcomes, thumbnails, strict=False):
            name = _name(outcome)
            if _name(thumbnail) != name and ENDED not in (name, _name(thumbnail)):
                self.failures.append(
                    f"seed {seed}, {form}: {outcome!r} as pixels, {thumbnail!r} as thumbnail"
                )
            self.outcomes[form, name] += 1
        faulthandler.cancel_dump_traceback_later()

    def table(self) -> str:
        """Return a Markdown table with a row for each format and a column for each outcome."""
        names = sorted({name for _, name in self.outcomes})
        rows = [[form, *(self.outcomes[form, name] for name in names)] for form in self._formats]
        rows.append(["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))])
        lines = [["format", *names], ["---", *["---:"] * len(names)], *rows]
        return "\n".join(
            f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in line)} |"
            for line in lines
        )

    def _decode(self, files: Sequence[bytes]) -> list[DecodedImage | InputError]:
        return asyncio.run(self._decoder.decode_many(files, lambda seconds: None))

    async def _thumbnails(self, files: Sequence[bytes]) -> list[bytes | BaseException]:
        return await asyncio.gather(
            *(self._workers.thumbnail(file, THUMBNAIL_PX) for file in files), return_exceptions=True
        )

    @staticmethod
    def _pixels(outcome: DecodedImage | InputError) -> "np.ndarray | None":
        return outcome.pixels if isinstance(outcome, DecodedImage) else None


def _name(outcome: object) -> str:
    if not isinstance(outcome, InputError):
        return type(outcome).__name__ if isinstance(outcome, BaseException) else "pixels"
    assert outcome.message
    is_ended = outcome.message.startswith(("the image decoder crashed", "the image decoder took"))
    return ENDED if is_ended else type(outcome).__name__


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; return 0 on success."""
    parser = argparse.ArgumentParser(prog="support.hostile.fuzzing", description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="damaged files")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first one's")
    parser.add_argument("--formats", nargs="+", default=[*FORMATS, HEIC], metavar="NAME")
    parser.add_argument("--progress", type=Path, metavar="FILE", help="go on where this file says")
    args = parser.parse_args(given)
    fuzzing, first, end = Fuzzing(args.formats), args.start, args.start + args.n
    if args.progress and args.progress.exists():
        kept = json.loads(args.progress.read_text())
        first, fuzzing.failures = kept["next"], kept["failures"]
        fuzzing.outcomes = Counter({(form, name): n for form, name, n in kept["outcomes"]})
    while first < end:
        began, last = time.monotonic(), min(first + BATCH * STEP, end)
        for batch in range(first, last, BATCH):
            print(f"\rseeds from {batch:,}", end="", file=sys.stderr, flush=True)
            try:
                fuzzing.run(range(batch, min(batch + BATCH, last)))
            except Exception:
                fuzzing.failures.append(f"seeds from {batch}: {traceback.format_exc(limit=-3)}")
        rate = (last - first) / (time.monotonic() - began)
        print(f"\r{last:,} of {end:,}, {rate:.0f}/s, {len(fuzzing.failures)} failures", file=sys.stderr)
        first = last
        if args.progress:
            outcomes = [[*key, n] for key, n in fuzzing.outcomes.items()]
            kept = {"next": first, "failures": fuzzing.failures, "outcomes": outcomes}
            args.progress.write_text(json.dumps(kept))
    print(fuzzing.table())
    print(f"{fuzzing.outcomes.total():,} files, {len(fuzzing.failures)} failures")
    print("\n".join(fuzzing.failures[:20]))
    return bool(fuzzing.failures)


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
