"""Connect the core to its adapters: the only place that does, for servers and for tests alike."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.delete import Deletions
from diptych.core.collections.following import Follower
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.images import CollectionImages
from diptych.core.collections.ingest import Ingest
from diptych.core.collections.moves import Moves
from diptych.core.collections.ranking.nearest import Finder
from diptych.core.collections.ranking.searcher import IndexSearcher
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.service import Collections
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.originals import Originals
from diptych.core.collections.stored.ports import (
    FilterResolver,
    HeaderReader,
    ImageStore,
    Records,
    Thumbnailer,
)
from diptych.core.collections.upkeep.exif_reading import ExifReading
from diptych.core.collections.upkeep.index_upkeep import IndexUpkeep
from diptych.core.collections.upkeep.indexes import Indexes, KeepFiles
from diptych.core.collections.upkeep.reembed import Pace, Reembedder
from diptych.core.collections.vectors import VectorIngest
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.jobs.ports import JobInputs, JobStore
from diptych.core.jobs.runner import MAX_BATCH
from diptych.core.jobs.service import Jobs
from diptych.core.labels.assignments import Assignments
from diptych.core.labels.ports import LabelRows
from diptych.core.labels.review import Review
from diptych.core.labels.service import LabelSets
from diptych.core.libraries.images import LibraryImages
from diptych.core.libraries.ports import LibraryFolder, LibraryRows, Path, Previews
from diptych.core.libraries.scan import Scanner
from diptych.core.libraries.service import Libraries
from diptych.core.ports import Metrics
from diptych.core.rollout.compare import MAX_SEARCH_S, Comparer
from diptych.core.rollout.pacing import EncoderShare
from diptych.core.rollout.parts import RolloutParts
from diptych.core.rollout.ports import Bundles, FreeSpace, RolloutStore
from diptych.core.rollout.service import Rollouts
from diptych.core.rollout.triggers import RolloutTriggers
from diptych.core.serving.ports import VectorIndex
from diptych.core.serving.snapshot import Serving
from diptych.core.serving.versions import Versions
from diptych.core.types import ExifLevel


@dataclass(frozen=True)
class LibraryAdapters:
    """The adapters that libraries need. `folders` are those that the operator names, by name, and `doubtful`
    files of them that scans have to read again.
    """

    rows: LibraryRows
    folders: Mapping[str, LibraryFolder]
    previews: Previews
    doubtful: Mapping[str, set[Path]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class Adapters:
    """The adapters that the core uses. `new_index` makes an empty index of vectors of a width.

    Without `libraries`, originals are read from the data folder alone.
    """

    metrics: Metrics
    records: Records
    images: ImageStore
    thumbnailer: Thumbnailer
    headers: HeaderReader
    new_index: Callable[[int], VectorIndex]
    labels: LabelRows
    jobs: JobStore
    job_inputs: JobInputs
    rollouts: RolloutStore
    bundles: Bundles
    free_space: FreeSpace
    write_queue: SerialWriteQueue
    keep_index_files: KeepFiles = lambda names: None
    libraries: LibraryAdapters | None = None


@dataclass(frozen=True)
class CorePlan:
    """Options of the core. See the settings of these names."""

    read_only: bool = False
    max_metadata_bytes: int = 16_384
    max_batch: int = MAX_BATCH
    min_overlap: float | None = None
    max_search_s: float = MAX_SEARCH_S
    poll_s: float = 2.0
    tend_s: float = 1.0  # between two looks whether indexes need to be trained or saved
    manual: bool = False
    pinned: int | None = None
    configured_model: str | None = None
    precision: str | None = None
    decode: DecodeMode = "exact"
    exif: ExifLevel = "basic"
    pace: Callable[[], Pace] | None = None  # of background embedding; None: gives way to requests


@dataclass(frozen=True)
class Core:
    """The parts that work on one data folder."""

    collections: Collections
    comparer: Comparer
    label_sets: LabelSets
    libraries: Libraries
    rollouts: Rollouts
    jobs: Jobs


def build_core(adapters: Adapters, versions: Versions, serving: Serving, plan: CorePlan) -> Core:
    """Build the parts of a server that answers with the snapshots of `serving`. Starts nothing."""
    records = adapters.records
    assignments = Assignments(
        serving=serving, labels=adapters.labels, rows=records.rows, vectors=records.vectors
    )
    collections = _collections(adapters, versions, serving, assignments, plan)
    label_sets = LabelSets(
        collections=collections,
        serving=serving,
        store=adapters.labels,
        rows=records.rows,
        assignments=assignments,
        review=Review(serving=serving, rows=records.rows, vectors=records.vectors),
    )
    comparer = Comparer(
        serving=serving,
        collections=collections,
        rows=records.rows,
        vectors=records.vectors,
        labels=adapters.labels,
        versions=versions,
        min_overlap=plan.min_overlap,
        max_search_s=plan.max_search_s,
    )
    parts = RolloutParts(
        versions=versions,
        serving=serving,
        collections=collections,
        bundles=adapters.bundles,
        store=adapters.rollouts,
        vectors=records.vectors,
        free_space=adapters.free_space,
        compare=comparer,
    )
    triggers = RolloutTriggers(
        adapters.bundles,
        manual=plan.manual,
        pinned=plan.pinned,
        configured_model=plan.configured_model,
        precision=plan.precision,
        decode=plan.decode,
    )
    jobs = Jobs(
        collections=collections,
        store=adapters.jobs,
        inputs=adapters.job_inputs,
        metrics=adapters.metrics,
        max_batch=plan.max_batch,
        max_metadata_bytes=plan.max_metadata_bytes,
    )
    rollouts = Rollouts(parts, triggers, metrics=adapters.metrics, poll_s=plan.poll_s)
    libraries = _libraries(adapters.libraries, collections, read_only=plan.read_only)
    return Core(collections, comparer, label_sets, libraries, rollouts, jobs)


def _libraries(parts: LibraryAdapters | None, collections: Collections, *, read_only: bool) -> Libraries:
    if parts is None:
        return Libraries(collections, {})
    scanners = {
        name: Scanner(
            name,
            folder=folder,
            rows=parts.rows,
            previews=parts.previews,
            collections=collections,
            doubtful=parts.doubtful[name],
        )
        for name, folder in parts.folders.items()
    }
    return Libraries(collections, scanners, read_only=read_only)


def _images(adapters: Adapters) -> ImageStore:
    """The image files of the data folder and of libraries."""
    parts = adapters.libraries
    if parts is None:
        return adapters.images
    return LibraryImages(
        adapters.images,
        rows=parts.rows,
        folders=parts.folders,
        previews=parts.previews,
        doubtful=parts.doubtful,
    )


def _collections(
    adapters: Adapters, versions: Versions, serving: Serving, labels: FilterResolver, plan: CorePlan
) -> Collections:
    records, images, writes = adapters.records, _images(adapters), adapters.write_queue
    files = FileReferences(images=images, records=records, write_queue=writes)
    originals = Originals(
        images=images,
        records=records,
        thumbnailer=adapters.thumbnailer,
        write_queue=writes,
        read_only=plan.read_only,
    )
    indexes = Indexes(
        records=records,
        new_index=adapters.new_index,
        keep_files=adapters.keep_index_files,
        read_only=plan.read_only,
    )

    async def catch_up() -> None:
        await follower.catch_up_in_write()

    deletions = Deletions(files=files, records=records, labels=labels, write_queue=writes, catch_up=catch_up)
    upkeep = IndexUpkeep(
        serving=serving,
        records=records,
        write_queue=writes,
        catch_up=catch_up,
        poll_s=plan.tend_s,
    )
    reembedder = Reembedder(images=images, records=records, write_queue=writes)
    registry = CollectionRegistry(
        versions=versions,
        serving=serving,
        indexes=indexes,
        images=images,
        files=files,
        deletions=deletions,
        records=records,
        reembedder=reembedder,
        upkeep=upkeep,
        exif=ExifReading(
            images=images, records=records, headers=adapters.headers, write_queue=writes, level=plan.exif
        ),
        pace=plan.pace or (lambda: EncoderShare(versions.busy_s)),
        metrics=adapters.metrics,
        read_only=plan.read_only,
    )
    moves = Moves(
        serving=serving,
        records=records,
        indexes=indexes,
        reembedder=reembedder,
        upkeep=upkeep,
        write_queue=writes,
        catch_up=catch_up,
    )
    follower = Follower(registry=registry, serving=serving, records=records, moves=moves, write_queue=writes)
    committer = RowCommitter(files=files, records=records)
    group_commit = GroupCommit(committer.store, writes)
    return Collections(
        registry=registry,
        serving=serving,
        records=records,
        files=files,
        originals=originals,
        deletions=deletions,
        finder=Finder(IndexSearcher(records.filtered, records.rows, labels, follower.catch_up), records.rows),
        follower=follower,
        moves=moves,
        ingest=Ingest(
            follow=moves.embed_added,
            files=files,
            committer=committer,
            group_commit=group_commit,
            write_queue=writes,
            max_metadata_bytes=plan.max_metadata_bytes,
            exif=plan.exif,
        ),
        vectors=VectorIngest(
            committer=committer, group_commit=group_commit, max_metadata_bytes=plan.max_metadata_bytes
        ),
        images=CollectionImages(
            registry=registry,
            records=records,
            files=files,
            originals=originals,
            deletions=deletions,
            committer=committer,
            labels=labels,
            write_queue=writes,
            max_metadata_bytes=plan.max_metadata_bytes,
        ),
        write_queue=writes,
        metrics=adapters.metrics,
    )
