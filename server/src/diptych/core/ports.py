"""The port for metrics, and the values of their labels."""

from typing import Final, Literal, Protocol

from diptych.core.types import EXACT, DatabaseReport, IndexRecall
from diptych.errors import StoreFull, StoreReadOnly

EncoderName = Literal["image", "text"]
Stage = Literal["parse", "fetch", "decode", "queue", "encode", "search", "serialise"]
SearchPart = Literal["filter", "words", "index", "metadata"]  # parts of the stage "search"
# Why a request, or a try of a job, was refused; alerts and the dashboard use these values.
Reason = Literal[
    "bodies_full", "fetch_full", "decode_full", "tokenize_full",
    "stopping", "request_timeout", "header_timeout", "body_timeout",
    "head_too_large", "connections_full",
    "disk_full", "disk_read_only",
]  # fmt: skip

RolloutResult = Literal["active", "failed", "cancelled"]


class Metrics(Protocol):
    """Counts and times for the operator. Calls are cheap and never fail."""

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request; `route` is the template, never the path."""
        ...

    def observe_stage(self, stage: Stage, seconds: float) -> None:
        """Record the time that one item or request spent in a stage."""
        ...

    def observe_batch(self, encoder: EncoderName, n_items: int) -> None:
        """Record a batch that went through an encoder."""
        ...

    def add_queue_items(self, encoder: EncoderName, n_more: int) -> None:
        """Add to the number of items that wait for an encoder. Encoders of several versions share a name."""
        ...

    def count_rejected(self, reason: Reason) -> None:
        """Count a refused request, or a refused try of a job."""
        ...

    def count_label_cache(self, n_hits: int, n_misses: int) -> None:
        """Count labels that were looked up in the label cache."""
        ...

    def set_collection(self, collection: str, n_images: int | None, recall: IndexRecall = EXACT) -> None:
        """Set the size (None once dropped) and the recall of a collection."""
        ...

    def set_active(self, name: str, version: int) -> None:
        """Set the model that answers requests which name no collection."""
        ...

    def set_rollout(self, n_images: int, n_embedded: int) -> None:
        """Set how many images the rollout under way has to embed, and has embedded; 0 of 0 when it ended."""
        ...

    def count_rollout(self, result: RolloutResult) -> None:
        """Count a rollout that has ended."""
        ...

    def set_rollback_lag(self, n_images: int) -> None:
        """Set how many images have no vector of the version that a rollback returns to."""
        ...

    def set_database(self, report: DatabaseReport) -> None:
        """Set the state of the database, where it is not a file of the data folder."""
        ...

    def set_ready(self, ready: bool) -> None:
        """Set whether requests should come to this server."""
        ...

    def render(self) -> tuple[bytes, str]:
        """The metrics as text, and its content type."""
        ...


DISK_FULL: Final = "disk_full"


DISK_READ_ONLY: Final = "disk_read_only"


def refusal_of(error: BaseException | None) -> Reason | None:
    """The metric label of an error of a full or read-only disk; None for anything else."""
    if isinstance(error, StoreFull):
        return DISK_FULL
    return DISK_READ_ONLY if isinstance(error, StoreReadOnly) else None
