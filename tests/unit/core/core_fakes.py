"""Fakes of the ports of the domain, written by hand; no model runs here."""

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diptych.bundle.encoder import OnStart
from diptych.bundle.image.preprocess import ImageInfo
from diptych.core.concurrency.admission import Admission
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder
from diptych.core.ports import EncoderName
from diptych.core.types import EXACT, DatabaseReport, DecodedImage, IndexRecall, ModelInfo
from diptych.errors import DiptychError, EncoderFailed, InvalidValue, UndecodableImage

DIM = 8


async def until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until the condition holds; the time limit of the test bounds the wait."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


class FakeMetrics:
    """Records what is reported."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.rejected: Counter[str] = Counter()
        self.label_cache: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.queue_items: Counter[str] = Counter()
        self.collections: dict[str, int | None] = {}
        self.recalls: dict[str, IndexRecall] = {}
        self.active = ""
        self.rollout = (0, 0)  # images, of which embedded
        self.rollouts: Counter[str] = Counter()  # by result
        self.rollback_lag = 0

    def count_request(self, route: str, code: int, seconds: float) -> None:
        raise AssertionError("the domain does not know requests")

    def observe_stage(self, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] += 1

    def observe_batch(self, encoder: str, n_items: int) -> None:
        self.batches.append(n_items)

    def add_queue_items(self, encoder: str, n_more: int) -> None:
        self.queue_items[encoder] += n_more

    def count_rejected(self, reason: str) -> None:
        self.rejected[reason] += 1

    def count_label_cache(self, n_hits: int, n_misses: int) -> None:
        self.label_cache.update(hit=n_hits, miss=n_misses)

    def set_collection(self, collection: str, n_images: int | None, recall: IndexRecall = EXACT) -> None:
        self.collections[collection] = n_images
        self.recalls[collection] = recall

    def set_active(self, name: str, version: int) -> None:
        self.active = (name, version)

    def set_rollout(self, n_images: int, n_embedded: int) -> None:
        self.rollout = (n_images, n_embedded)

    def count_rollout(self, result: str) -> None:
        self.rollouts[result] += 1

    def set_rollback_lag(self, n_images: int) -> None:
        self.rollback_lag = n_images

    def set_database(self, report: DatabaseReport) -> None:
        self.database = report

    def set_ready(self, ready: bool) -> None:
        raise AssertionError("the domain does not know who asks")

    def render(self) -> tuple[bytes, str]:
        return b"", "text/plain"


class NumberEncoder:
    """Encodes an integer n to (n, ..., n). `bad` numbers raise; a closed `gate` blocks the call.

    A call that waits at the gate cannot be stopped: see HangingEncoder for one that can.
    """

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = set(bad)
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, items: Sequence[int], on_start: OnStart | None = None) -> Any:
        self.batches.append(list(items))
        self.entered.set()
        assert self.gate.wait(10)
        if self.bad.intersection(items):
            raise RuntimeError("secret text of the runtime")
        return np.repeat(np.array(items, np.float32)[:, np.newaxis], DIM, axis=1)


class HangingEncoder(NumberEncoder):
    """Hangs on the numbers in `hang` until it is stopped, and on those in `deaf` until `release` is set."""

    def __init__(self, hang: Sequence[int] = (), deaf: Sequence[int] = ()) -> None:
        super().__init__()
        self.hang, self.deaf = set(hang), set(deaf)
        self.release = threading.Event()

    def __call__(self, items: Sequence[int], on_start: OnStart | None = None) -> Any:
        stopped = threading.Event()
        assert on_start is not None
        on_start(stopped.set)
        if self.deaf.intersection(items):
            self.batches.append(list(items))
            self.release.wait(30)
        elif self.hang.intersection(items):
            self.batches.append(list(items))
            assert stopped.wait(30)
            raise RuntimeError("stopped")
        return super().__call__(items)


def number_batcher(
    encode: Any,
    *,
    max_batch_size: int = 4,
    timeout_s: float = 60,
    metrics: Any = None,
    on_stuck: Callable[[str], None] = lambda reason: None,
    **workers: Any,
) -> Batcher[int]:
    return Batcher(
        "image",
        encode,
        max_batch_size=max_batch_size,
        embed_dim=DIM,
        timeout_s=timeout_s,
        metrics=metrics or FakeMetrics(),
        on_stuck=on_stuck,
        **workers,
    )


def values_or_errors(outcomes: Sequence[Any]) -> list[Any]:
    """The number of each row, or the class of each error."""
    return [type(one) if isinstance(one, DiptychError) else int(one[0]) for one in outcomes]


def unit_vector(seed: str | bytes) -> Any:
    """A (DIM,) unit vector that depends only on the seed."""
    digest = hashlib.sha256(seed.encode() if isinstance(seed, str) else seed).digest()
    row = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


class FakeDecoder:
    """Fails on payloads that begin with `bad`; the first byte of all others becomes the only pixel."""

    def __init__(self) -> None:
        self.n_decoded = 0
        self.alone: list[bool] = []  # of each call

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[Any]:
        self.alone.append(alone)
        await asyncio.sleep(0)
        return [self._decode(payload, on_decoded) for payload in payloads]

    def _decode(self, payload: bytes, on_decoded: Callable[[float], None]) -> Any:
        self.n_decoded += 1
        on_decoded(0.0)
        if payload.startswith(b"bad"):
            return UndecodableImage("cannot be decoded")
        return DecodedImage(ImageInfo("PNG", "image/png", 1, 1), np.full((1, 1, 3), payload[0], np.uint8))


class FakeTokenizer:
    """One id for each character; refuses `!`, and truncates after 10 characters."""

    def ids(self, text: str) -> tuple[Any, bool]:
        if "!" in text:
            raise InvalidValue("no exclamation marks")
        return np.array([ord(c) for c in text[:10]], np.int32), len(text) > 10


class FakeEncoder:
    """Texts get a vector that depends on the text; images get that of the text chr(first pixel)."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_image(self, pixels: Any) -> Any:
        return np.stack([unit_vector(chr(int(image[0, 0, 0]))) for image in pixels])

    def encode_texts(self, items: Sequence[Any]) -> Any:
        texts = ["".join(map(chr, ids)) for ids in items]
        self.texts += texts
        if any("?" in text for text in texts):
            raise EncoderFailed("no question marks")
        return np.stack([unit_vector(text) for text in texts])


def fake_embedder(
    encoder: FakeEncoder,
    *,
    decoder: Any = None,
    tokenizer: Any = None,
    text_admission: Admission | None = None,
    max_items: int = 64,
    metrics: Any = None,
) -> Embedder:
    metrics = metrics or FakeMetrics()

    def admission() -> Admission:
        return Admission(max_items=max_items, max_bytes=10**9)

    def batcher(name: EncoderName, encode: Callable[[Sequence[Any]], Any]) -> Batcher[Any]:
        return Batcher(
            name,
            lambda items, on_start: encode(items),
            max_batch_size=4,
            embed_dim=DIM,
            timeout_s=60,
            metrics=metrics,
            on_stuck=lambda reason: None,
        )

    return Embedder(
        decoder=decoder or FakeDecoder(),
        tokenizer=tokenizer or FakeTokenizer(),
        images=batcher("image", lambda items: encoder.encode_image(np.stack(items))),
        texts=batcher("text", encoder.encode_texts),
        image_admission=admission(),
        text_admission=text_admission or admission(),
        metrics=metrics,
    )


class IdleEncoder:
    """The encoder of a pipeline that is not asked; `on_close` is called when it is closed."""

    def __init__(self, on_close: Callable[[], object] = lambda: None) -> None:
        self.close = on_close


IDLE_ENCODER = IdleEncoder()


def model_info(**changes: Any) -> ModelInfo:
    values: dict[str, Any] = {
        "name": "fake",
        "version": 1,
        "precision": "fp32",
        "decode": "exact",
        "identity": "a" * 64,
        "provider": "none",
        "family": "clip",
        "embed_dim": DIM,
        "context_length": 10,
        "logit_scale": 20.0,
        "logit_bias": 0.0,
        "image_size": 1,
        "prompts": {"default": ("{}",)},
    }
    return ModelInfo(**(values | changes))
