"""Collections over the real adapters and the tiny model, without HTTP."""

import asyncio
import hashlib
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.job_files import JobFiles
from diptych.adapters.files.preview_files import PreviewFiles
from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.sqlite.jobs import SqlJobs
from diptych.adapters.sqlite.labels import SqlLabels
from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.adapters.sqlite.store import SqliteStore
from diptych.bundle.encoder import OnStart
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.manifest import Manifest, bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.collections.upkeep.reembed import NoPause, Pace
from diptych.core.concurrency.admission import Admission
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder, image_batch_encoder, text_batch_encoder
from diptych.core.fetching.image_urls import ImageUrls
from diptych.core.libraries.ports import LibraryFolder
from diptych.core.rollout.types import Rollout
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.version import Version
from diptych.core.serving.versions import OnStep, Versions
from diptych.core.tuning.precision import Choice, DeviceChoice, Execution
from diptych.core.types import AddOutcome, CollectionInfo, Hit, Metadata, NewImage, Target, VersionRef
from diptych.errors import DiptychError, GoldenMismatch
from diptych.wiring.core import Adapters, CorePlan, LibraryAdapters, build_core
from support.one_search import search_by_vector
from support.pictures import picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import IDLE_ENCODER, FakeMetrics, model_info

EXECUTION = Execution(
    Choice("fp32", "the only one"),
    DeviceChoice("CPUExecutionProvider", None, "of a test"),
)
PRECISIONS = ["fp32", "fp16", "int8"]  # of each version; fp16 fails its golden check
COLOURS = ("red", "green", "blue", "yellow")

Result = TypeVar("Result")


class CountedWrites(SerialWriteQueue):
    """Counts the writes that run or wait for their turn."""

    n_open = 0

    async def run(self, write: Coroutine[Any, Any, Result]) -> Result:
        self.n_open += 1
        try:
            return await super().run(write)
        finally:
            self.n_open -= 1


class RepositoryBundles:
    """The versions of a model repository; remembers each time which ones the data folder would keep."""

    def __init__(self, model_repo: Path) -> None:
        self._repository = ModelRepository(model_repo)
        self.kept: list[set[VersionRef]] = []
        self.precisions_of: dict[int, list[str]] = {}  # by number, of versions that have other ones

    def newest(self, name: str, excluding: Collection[VersionRef] = ()) -> VersionRef | None:
        if name not in self._repository.names():
            return None
        refs = (self.find(name, version) for version in reversed(self._repository.versions(name)))
        return next((ref for ref in refs if ref not in excluding), None)

    def find(self, name: str, version: int) -> VersionRef:
        return VersionRef(name, version, bundle_digest(self._repository.folder(name, version)))

    def keep(self, refs: Sequence[VersionRef]) -> None:
        self.kept.append(set(refs))

    def kept_bytes(self, ref: VersionRef) -> int:
        return 0

    def precisions(self, ref: VersionRef) -> list[str]:
        return self.precisions_of.get(ref.version, PRECISIONS)


class AmpleSpace:
    """Enough disk and memory, unless `error` is set."""

    error: DiptychError | None = None

    def require(self, *, disk_bytes: int, memory_bytes: int) -> None:
        if self.error is not None:
            raise self.error


class Opened:
    """An open data folder and the parts that tests examine.

    `version` of `model` is active; what the data folder says about it does not count.
    """

    def __init__(
        self,
        model_repo: Path,
        data_dir: Path,
        version: int,
        model: str = TINY,
        admission: Admission | None = None,
        precision: str = "fp32",
        asked_precision: str | None = None,
        metrics: FakeMetrics | None = None,
        lists: Approximation | None = None,
        libraries: Mapping[str, LibraryFolder] | None = None,
        records: Any = None,
        **plan: Any,
    ) -> None:
        """`precision` is the one that serves first; `plan` are values of a CorePlan. `lists`: how large
        collections are searched. `libraries` are folders by name; tests scan them. `records`: another store
        than one in the data folder.
        """
        self._repository = ModelRepository(model_repo)
        self._new_admission = lambda: admission or _admission()
        self.workers = ImageWorkers(ImageLimits(), n_threads=2)
        self.metrics = metrics or FakeMetrics()
        self.bundles, self.free_space = RepositoryBundles(model_repo), AmpleSpace()
        self.versions = Versions(self._load)
        self.refused: list[str] = [
            "fp16"
        ]  # precisions, of all versions or of one, that fail their golden check
        self.pace: Pace = NoPause()  # of what is embedded in the background for `current` vectors
        self.before_encode: Callable[[], None] = lambda: None  # called before each batch of images
        self._own_encoders: list[Callable[[Any, OnStart], Any]] = []  # of the versions, as they were loaded
        first = Target(self.bundles.find(model, version), precision, "exact")
        self.serving = Serving(self.versions.adopt(self._load(first, lambda step: None)))
        # Encodes images for the first version; what replaces it encodes for all versions.
        self.encode_image = self._own_encoders[0]
        self.records: SqliteStore = records or SqliteStore(data_dir)
        self.images = ImageFiles(data_dir)
        self.write_queue = CountedWrites()
        self.indexes: list[FaissCpuIndex] = []  # those of all collections, the newest last
        self._index_thread, self._lists = IndexThreads(1), lists
        self.store = SqlRollouts(self.records.threads)
        self.libraries = LibraryAdapters(self.records.libraries, libraries or {}, PreviewFiles(data_dir))
        adapters = Adapters(
            metrics=self.metrics,
            records=self.records,
            images=self.images,
            thumbnailer=self.workers,
            headers=self.workers,
            new_index=self._new_index,
            labels=SqlLabels(self.records.threads),
            jobs=SqlJobs(self.records.threads),
            job_inputs=JobFiles(data_dir),
            rollouts=self.store,
            bundles=self.bundles,
            free_space=self.free_space,
            write_queue=self.write_queue,
            keep_index_files=lists.files.keep_only if lists and lists.files else lambda names: None,
            libraries=self.libraries,
        )
        values = {"manual": True, "poll_s": 0.01, "pace": lambda: self.pace} | plan
        core = build_core(
            adapters, self.versions, self.serving, CorePlan(**values, precision=asked_precision)
        )
        self.collections, self.comparer = core.collections, core.comparer
        self.rollouts, self.jobs, self.label_sets = core.rollouts, core.jobs, core.label_sets
        self.data_dir = data_dir

    @property
    def embedder(self) -> Embedder:
        """The embedder of the active version."""
        return self.serving.current.version.embedder

    async def __aenter__(self) -> "Opened":
        await self.collections.open()
        await self.rollouts.open()
        await self.collections.ensure("default")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.rollouts.close()
        await self.versions.close()
        await self.collections.close()

    async def end_of(self, rollout: Rollout, state: str = "active") -> Rollout:
        """Wait until the rollout has ended in this state; return it."""
        while not (found := await self.rollouts.get(rollout.id)).has_ended:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        assert found.state == state, found
        return found

    async def activate(
        self,
        name: str,
        version: int | None = None,
        state: str = "active",
        *,
        precision: str | None = None,
        despite_labels: bool = False,
    ) -> Rollout:
        """Activate a version, and wait until the rollout has ended in this state."""
        rollout = await self.rollouts.activate(name, version, precision, despite_labels=despite_labels)
        return rollout if rollout.has_ended else await self.end_of(rollout, state)

    async def rolled_back(self) -> Rollout:
        """Go back to the version that served before, and wait until it serves."""
        previous = (await self.rollouts.status()).previous
        assert previous is not None
        ref, precision = previous.target.ref, previous.target.precision
        return await self.activate(ref.name, ref.version, precision=precision, despite_labels=True)

    async def add(
        self,
        collection: str,
        payload: bytes,
        id: str | None = None,
        metadata: Metadata | None = None,
        *,
        replace: bool = False,
    ) -> AddOutcome:
        """Add one image; return its outcome."""
        item = NewImage(payload, id, metadata)
        (outcome,) = (await self.collections.add_many(collection, [item], replace=replace)).outcomes
        return outcome

    def files(self) -> list[str]:
        """Return the names of all image files and thumbnails."""
        roots = (self.data_dir / "images", self.data_dir / "thumbnails")
        return sorted(path.name for root in roots for path in root.glob("*/*"))

    async def listed(self, collection: str = "default") -> list[str]:
        """Return the ids of all images of a small collection."""
        page, _ = await self.collections.images.list(collection, None, 100)
        return [image.id for image in page]

    async def ids(self, query: Any, k: int = 10, **options: Any) -> list[str]:
        """Search the default collection; return the ids found, best first."""
        return [hit.id for hit in await self.search("default", query, k=k, **options)]

    async def search(self, name: str, query: Any, k: int = 10, **options: Any) -> list[Hit]:
        """Search a collection by a vector (D,)."""
        return await search_by_vector(self.serving, self.collections, name, query, k, **options)

    def pair(self, name: str = "default") -> Pair:
        """The vectors of a collection that answer now."""
        return self.collections[name].require_served()

    def _new_index(self, embed_dim: int) -> FaissCpuIndex:
        self.indexes.append(FaissCpuIndex(embed_dim, self._index_thread, lists=self._lists))
        return self.indexes[-1]

    def _load(self, target: Target, on_step: OnStep) -> Version:
        ref, precision = target.ref, target.precision
        folder = self._repository.folder(ref.name, ref.version)
        manifest = self._repository.manifest(ref.name, ref.version)
        encoder = OnnxEncoder(folder / "image_encoder.onnx", folder / "text_encoder.onnx", n_threads=1)
        on_step("verified")
        if {precision, f"{ref}/{precision}"} & set(self.refused):
            raise GoldenMismatch("golden image 1: cosine is 0.5")
        return self._built(target, manifest, encoder)

    def _built(self, target: Target, manifest: Manifest, encoder: OnnxEncoder) -> Version:
        """Build a version whose vectors are rotated by one place for int8, by two for other precisions."""
        ref, precision = target.ref, target.precision
        identity = f"{ref}" if precision == "fp32" else f"{ref}/{precision}"
        shift = {"fp32": 0, "int8": 1}.get(precision, 2)
        encode_own = image_batch_encoder(encoder)
        self._own_encoders.append(encode_own)
        encode_text = text_batch_encoder(encoder, partial(pad, spec=manifest.text))
        batcher = partial(
            Batcher,
            max_batch_size=8,
            embed_dim=manifest.embed_dim,
            timeout_s=60,
            metrics=self.metrics,
            on_stuck=lambda reason: None,
        )
        images = batcher(
            "image",
            lambda items, on_start: np.roll(self._encode(encode_own, items, on_start), shift, axis=1),
        )
        texts = batcher(
            "text",
            lambda items, on_start: np.roll(encode_text(items, on_start), shift, axis=1),
        )
        embedder = Embedder(
            decoder=self.workers.decoder(manifest.image),
            tokenizer=TextTokenizer(folder_of(self._repository, ref) / "tokenizer.json", manifest.text),
            images=images,
            texts=texts,
            image_admission=self._new_admission(),
            text_admission=_admission(),
            metrics=self.metrics,
        )
        info = model_info(
            name=ref.name,
            version=ref.version,
            precision=precision,
            identity=identity,
            embed_dim=manifest.embed_dim,
            bundle=ref.bundle,
        )
        return Version(
            target=target,
            model=info,
            embedder=embedder,
            classifier=LabelClassifier(model=info, embedder=embedder, metrics=self.metrics),
            canaries=(lambda on_start: None,) * 2,
            batchers=(images, texts),
            timeout_s=60,
            encoder=IDLE_ENCODER,
            execution=EXECUTION,
        )

    def _encode(self, own: Callable[[Any, OnStart], Any], items: Any, on_start: OnStart) -> Any:
        self.before_encode()
        encode = own if self.encode_image in self._own_encoders else self.encode_image
        return encode(items, on_start)


def folder_of(repository: ModelRepository, ref: VersionRef) -> Path:
    return repository.folder(ref.name, ref.version)


class EncoderGate:
    """Holds the encoder back until the gate opens; then encoding succeeds or fails."""

    def __init__(self, opened: Opened) -> None:
        self.entered, self._gate, self._encode = threading.Event(), threading.Event(), opened.encode_image
        self._fails = False
        opened.encode_image = self._gated

    def open(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._gate.set()

    def _gated(self, items: Any, on_start: Any) -> Any:
        self.entered.set()
        assert self._gate.wait(10)
        if self._fails:
            raise RuntimeError("cannot be encoded")
        return self._encode(items, on_start)


@asynccontextmanager
async def writes_held_up(opened: Opened) -> AsyncIterator[None]:
    """Occupy the write queue for the duration of the block, so that other writes wait."""
    began, end = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        began.set()
        await end.wait()

    writing = asyncio.create_task(opened.write_queue.run(write()))
    await began.wait()
    try:
        yield
    finally:
        end.set()
        await writing


async def embedded(opened: Opened, name: str = "default") -> CollectionInfo:
    """Wait until the collection is no longer being embedded again; return its description."""
    while (info := await opened.collections.get(name)).state == "embedding":  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)
    return info


Story = Callable[[Opened], Coroutine[Any, Any, None]]


class Run(Protocol):
    """Opens a data folder, runs a story over it and closes it. `options` are those of `Opened`.

    `before` is called before it is opened.
    """

    def __call__(
        self,
        story: Story,
        *,
        version: int = 1,
        before: Callable[[Opened], None] = lambda opened: None,
        **options: Any,
    ) -> None: ...


def stories(model_repo: Path, data_dir: Path) -> Run:
    """Return a runner of stories over this data folder."""

    def run_story(
        story: Story,
        *,
        version: int = 1,
        before: Callable[[Opened], None] = lambda opened: None,
        **options: Any,
    ) -> None:
        async def whole() -> None:
            opened = Opened(model_repo, data_dir, version, **options)
            before(opened)
            async with opened:
                await story(opened)

        asyncio.run(whole())

    return run_story


async def add_colours(opened: Opened) -> None:
    """Add four pictures to the default collection, each with its colour as id."""
    items = [NewImage(picture(colour), colour, {"length": len(colour)}) for colour in COLOURS]
    outcomes = (await opened.collections.add_many("default", items)).outcomes
    assert [(one.index, one.id, one.status) for one in outcomes] == [
        (n, colour, "created") for n, colour in enumerate(COLOURS)
    ]


async def look(opened: Opened, colour: str) -> Any:
    """Return the embedding of a picture of the colour."""
    return await opened.embedder.embed_image(picture(colour))


def _admission() -> Admission:
    return Admission(max_items=256, max_bytes=10**9)


def tiny_png(seed: int) -> bytes:
    """Return a different PNG for every seed, made without an image library: subprocesses start fast."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    rows = b"".join(b"\0" + digest[y * 3 : y * 3 + 12] for y in range(4))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def without_urls(opened: Opened) -> ImageUrls:
    """What fetches no image."""
    fetcher: Any = None
    return ImageUrls(fetcher, max_at_once=1, turn_s=1, total_s=1, metrics=opened.metrics)
