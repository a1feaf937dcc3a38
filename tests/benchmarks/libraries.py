"""How fast a library follows its folder: the first scan, looks without changes, and one change.

    PYTHONPATH=tests python -m benchmarks.libraries [--quick] [--pictures N] [--write docs/libraries.md]

Makes pictures of 640 x 480 from those of the gallery, and keeps them in ~/.cache/diptych for the next run.
They come into the folder of a library in parts. Each part is scanned, and every fifth picture of it is
embedded by the same encoder without a library before or after that, so that a busy machine slows both alike.
Files that are no pictures, a hundred thousand, show what a look at a large tree costs.
"""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from PIL import Image, ImageOps

from benchmarks.report import (
    OtherPrograms,
    Verdict,
    conditions,
    finish,
    parser,
    run,
    say,
    table,
    verdicts_table,
)
from diptych.adapters.files.library_folder import FolderOfLibrary
from diptych.core.libraries.plan import plan_scan
from diptych.core.libraries.ports import LibraryFile
from diptych.core.libraries.service import Library
from diptych.core.services import Services
from diptych.settings import Settings
from diptych.wiring.services import load
from support.documents import ROOT

MARKS = "bench-libraries"
CACHE = Path.home() / ".cache" / "diptych" / "library-pictures"
N_PICTURES, QUICK_PICTURES, N_PARTS = 20_000, 1_000, 20
EVERY = 5  # of the pictures is embedded alone, too
N_OTHER_FILES, QUICK_OTHER_FILES = 100_000, 5_000
SIZE, QUALITY, PER_FOLDER = (640, 480), 85, 100
N_LOOKS, N_CHANGES = 5, 3
BATCH = 16  # as a scan reads
MAX_BYTES = 10**8
POLL_S = 0.05
WITHIN_SHARE, LOOK_S, CHANGE_S = 0.9, 10, 5


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock and of the processors."""

    wall_s: float
    cpu_s: float


@dataclass
class Found:
    """What was measured."""

    scans: list[Taken] = field(default_factory=list)
    alone: list[Taken] = field(default_factory=list)
    looks: list[Taken] = field(default_factory=list)
    changes_s: list[float] = field(default_factory=list)
    other_first: Taken | None = None
    other_looks: list[Taken] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)


def picture_path(i: int) -> Path:
    """Where in its tree a picture is."""
    return Path(f"{2000 + i // (10 * PER_FOLDER)}", f"{i // PER_FOLDER % 10:02}", f"IMG_{i:05}.jpg")


def make_pictures(n: int) -> None:
    """Make those of `n` pictures that the cache lacks: parts of gallery pictures in other colours."""
    sources = sorted(
        path for path in (ROOT / "server" / "gallery").iterdir() if path.suffix in {".png", ".jpg"}
    )
    opened: dict[Path, Image.Image] = {}
    grains = [Image.effect_noise(SIZE, sigma).convert("RGB") for sigma in range(10, 42, 4)]  # as sensors have
    for i in range(n):
        file = CACHE / picture_path(i)
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(i)
        source = rng.choice(sources)
        if source not in opened:
            opened[source] = Image.open(source).convert("RGBA").resize((800, 600))
        ground = Image.new("RGBA", SIZE, tuple(rng.randrange(256) for _ in range(3)))
        left, top = rng.randrange(160), rng.randrange(120)
        part = opened[source].crop((left, top, left + SIZE[0], top + SIZE[1]))
        picture = Image.alpha_composite(ground, part).convert("RGB")
        if rng.random() < 0.5:
            picture = ImageOps.mirror(picture)
        picture = Image.blend(picture, grains[rng.randrange(len(grains))], 0.15)
        temporary = file.with_suffix(".part")
        picture.save(temporary, "JPEG", quality=QUALITY)
        os.utime(temporary, (1e9, 1e9))
        temporary.replace(file)
        if (i + 1) % 1_000 == 0:
            say(f"{i + 1:,} pictures are made")


def bring(root: Path, first: int, end: int) -> None:
    """Link pictures of the cache into the folder of the library."""
    for i in range(first, end):
        file = root / picture_path(i)
        file.parent.mkdir(parents=True, exist_ok=True)
        os.link(CACHE / picture_path(i), file)


async def taken(work: Callable[[], Awaitable[object]]) -> Taken:
    """What some work takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def library(services: Services, name: str) -> Library:
    """The state of a library."""
    return next(one for one in services.libraries.list() if one.name == name)


async def until_known(services: Services, name: str, n_files: int) -> None:
    """Wait until a library knows so many files, and is done."""
    while True:
        found = library(services, name)
        if found.state == "idle" and found.n_files == n_files:
            return
        await asyncio.sleep(POLL_S)


async def scanned(services: Services, name: str, n_files: int) -> None:
    """Have a library scanned, and wait for the end."""
    services.libraries.scan(name)
    await until_known(services, name, n_files)


async def embed(services: Services, files: list[Path]) -> None:
    """Embed pictures as a scan does, two batches at once, and store nothing."""
    embedder = services.serving.current.version.embedder

    async def one(some: list[Path]) -> None:
        payloads = await asyncio.to_thread(lambda: [file.read_bytes() for file in some])
        await embedder.embed_images(payloads)

    batches = [files[at : at + BATCH] for at in range(0, len(files), BATCH)]
    before: asyncio.Task[None] | None = None
    for some in batches:
        current = asyncio.create_task(one(some))
        if before is not None:
            await before
        before = current
    if before is not None:
        await before


def memory_of() -> dict[str, int]:
    """The memory of this process in bytes: now, and at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


async def measure(services: Services, roots: dict[str, Path], n_pictures: int, n_others: int) -> Found:
    """All figures, of a server's services without HTTP."""
    found, photos = Found(), roots["photos"]
    found.memory["before"] = memory_of()["VmRSS"]
    await embed(services, [CACHE / picture_path(i) for i in range(BATCH * 8)])  # warm
    bounds = [n_pictures * part // N_PARTS for part in range(N_PARTS + 1)]
    for part, (first, end) in enumerate(pairwise(bounds)):

        async def scan(end: int = end) -> None:
            await scanned(services, "photos", end)

        async def alone(first: int = first, end: int = end) -> None:
            await embed(services, [CACHE / picture_path(i) for i in range(first, end, EVERY)])

        if part % 2:
            found.alone.append(await taken(alone))
        await asyncio.to_thread(bring, photos, first, end)  # a look may notice them at once
        found.scans.append(await taken(scan))
        if not part % 2:
            found.alone.append(await taken(alone))
        rates = (end - first) / found.scans[-1].wall_s, (end - first) / EVERY / found.alone[-1].wall_s
        say(f"{end:,} pictures: {rates[0]:.0f} a second in the scan, {rates[1]:.0f} alone")
    found.memory["after"] = memory_of()["VmRSS"]
    for _ in range(N_LOOKS):
        found.looks.append(await taken(lambda: scanned(services, "photos", n_pictures)))
    for i in range(N_CHANGES):
        file = photos / "new" / f"{i}.jpg"
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(CACHE / picture_path(i), file)
        with file.open("ab") as picture:
            picture.write(b"another content")
        one = await taken(lambda n=i + 1: until_known(services, "photos", n_pictures + n))
        found.changes_s.append(one.wall_s)
    if n_others:
        say(f"{n_others:,} files that are no pictures")
        await asyncio.to_thread(write_others, roots["others"], n_others)
        found.other_first = await taken(lambda: scanned(services, "others", n_others))
        found.other_looks = await looks_at(roots["others"])
    found.memory["most"] = memory_of()["VmHWM"]
    return found


async def looks_at(root: Path) -> list[Taken]:
    """What looks at a tree take in which nothing has changed: its listing, compared with what is known."""
    folder = FolderOfLibrary("others", root, MAX_BYTES)
    files = (await folder.listing()).files
    known = {path: LibraryFile(path, stamp, None, "no picture") for path, stamp in files.items()}

    async def look() -> None:
        listing = await folder.listing()
        plan = await asyncio.to_thread(plan_scan, known, listing, time.time_ns())
        assert plan.is_empty

    return [await taken(look) for _ in range(N_LOOKS)]


def write_others(root: Path, n: int) -> None:
    """Write files with the endings of pictures that are none."""
    for i in range(n):
        file = root / picture_path(i)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(str(i).encode())
        os.utime(file, (1e9, 1e9))


def verdicts(found: Found) -> list[Verdict]:
    """The bars of the first scan, of looks, and of a change."""
    pairs = list(zip(found.scans, found.alone, strict=True))
    share = median(EVERY * alone.wall_s / scan.wall_s for scan, alone in pairs)
    cpu_share = median(EVERY * alone.cpu_s / scan.cpu_s for scan, alone in pairs)
    look_s, change_s = max(one.wall_s for one in found.looks), max(found.changes_s)
    return [
        _at_least("first scan, of the encoder's own rate", share),
        _at_least("the same by processor time", cpu_share),
        Verdict("scan without changes", f"< {LOOK_S} s", f"{look_s:.2f} s", look_s < LOOK_S),
        Verdict("one change is found", f"< {CHANGE_S} s", f"{change_s:.1f} s", change_s < CHANGE_S),
    ]


def _at_least(what: str, share: float) -> Verdict:
    return Verdict(what, f">= {WITHIN_SHARE:.0%}", f"{share:.0%}", share >= WITHIN_SHARE)


def report(found: Found, n_pictures: int, n_others: int, command: str, others: str) -> str:
    """The section of the documentation."""
    scan, alone = (
        Taken(sum(one.wall_s for one in some), sum(one.cpu_s for one in some))
        for some in (found.scans, found.alone)
    )
    rows = [
        _row(f"first scan of {n_pictures:,} pictures", scan, n_pictures),
        _row("every fifth of them embedded alone", alone, n_pictures // EVERY),
        _row("scan without changes, median", _median(found.looks)),
    ]
    if found.other_first is not None:
        rows += [
            _row(f"first scan of {n_others:,} files that are no pictures", found.other_first, n_others),
            _row(f"look at {n_others:,} files without changes, median", _median(found.other_looks)),
        ]
    before, after, most = (f"{found.memory[name] / 2**20:,.0f} MB" for name in ("before", "after", "most"))
    memory = f"Memory: {before} before, {after} after the first scan, {most} at most."
    figures = table(["", "seconds", "processor seconds", "files a second"], rows)
    return "\n\n".join([f"{conditions(command)} {others} {memory}", figures, verdicts_table(verdicts(found))])


def _row(name: str, one: Taken, n: int | None = None) -> list[str]:
    rate = "" if n is None else f"{n / one.wall_s:,.0f}"
    return [name, f"{one.wall_s:,.2f}", f"{one.cpu_s:,.2f}", rate]


def _median(some: list[Taken]) -> Taken:
    return Taken(median(one.wall_s for one in some), median(one.cpu_s for one in some))


def main() -> int:
    """Measure, and print the report."""
    flags = parser(__doc__, quick=f"{QUICK_PICTURES:,} pictures and {QUICK_OTHER_FILES:,} other files")
    flags.add_argument("--pictures", type=int, metavar="N", help=f"pictures (default {N_PICTURES:,})")
    flags.add_argument("--model", default="everyday", help="the encoder (default everyday)")
    flags.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    args = flags.parse_args()
    n_pictures = args.pictures or (QUICK_PICTURES if args.quick else N_PICTURES)
    n_others = QUICK_OTHER_FILES if args.quick else N_OTHER_FILES
    make_pictures(max(n_pictures, BATCH * 8))
    with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix="library-") as name:  # links need one disk
        roots = {one: Path(name, one) for one in ("photos", "others")}
        for root in roots.values():
            root.mkdir()
        settings = Settings(
            model_repo=args.model_repo,
            model=args.model,
            data_dir=Path(name, "data"),
            libraries=tuple(f"{one}={root}" for one, root in roots.items()),
            rollout="manual",
        )

        async def measured() -> Found:
            services = await load(settings)
            try:
                return await measure(services, roots, n_pictures, n_others)
            finally:
                await services.close()

        others = OtherPrograms()
        found = asyncio.run(measured())
    command = "PYTHONPATH=tests python -m benchmarks.libraries" + " --quick" * args.quick
    finish(report(found, n_pictures, n_others, command, others.said()), args.write, MARKS)
    return 0 if all(one.met for one in verdicts(found)) else 1


if __name__ == "__main__":
    run(main)
