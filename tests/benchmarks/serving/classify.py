"""What labels cost: `/classify` with new and with known labels beside `/embed` of the same photographs."""

import time
from collections.abc import Sequence

from benchmarks.serving.bench import Bench
from benchmarks.serving.http_message import MULTIPART, OCTETS, Part, form, labels_part
from benchmarks.serving.load import Asked
from benchmarks.serving.measures import median
from benchmarks.serving.photos import photos
from benchmarks.serving.servers import Running, post
from benchmarks.serving.store import Figures, Parameters
from benchmarks.serving.texts import labels
from benchmarks.serving.windows import bodies_file, window

N_PHOTOS = 64  # more than any batch: none is in one twice
N_LABELS = (10, 1000)
COLD_REQUESTS = {10: 10, 1000: 1}
BUSY = 32  # clients
TOP_K = Part("top_k", b"10")
KNOWN_SEED, NEW_SEED = 7, 1000


def is_missing(bench: Bench, precision: str, number: int) -> bool:
    """Whether anything of this round is left to do."""
    return not all(bench.has(**one) for one in _all(precision, number))


def measure(bench: Bench, server: Running, precision: str, number: int) -> None:
    """One client in turns between the kinds, many clients kind by kind, and labels never seen before."""
    single, many, cold = _all(precision, number)[0], _all(precision, number)[1:3], _all(precision, number)[3:]
    kinds = [embed_raw(), embed_form(), *(classify_known(n) for n in N_LABELS)]
    for n_labels in N_LABELS:
        know(server, n_labels)
    bench.measure(lambda: window(bench, server, kinds, 1), **single)
    for kind, asked in zip((kinds[1], kinds[-1]), many, strict=True):
        bench.measure(lambda kind=kind: window(bench, server, [kind], BUSY), **asked)
    for asked in cold:
        bench.measure(lambda n=asked["labels"]: _cold(server, n), **asked)


def embed_raw() -> Asked:
    """A JPEG as the whole body."""
    return Asked("embed raw", "/embed", bodies_file("embed-raw", _some()), "image/jpeg", OCTETS)


def embed_form() -> Asked:
    """The same photographs in forms."""
    bodies = [form([_photo(photo)]) for photo in _some()]
    return Asked("embed form", "/embed", bodies_file("embed-form", bodies), MULTIPART)


def classify_known(n_labels: int) -> Asked:
    """The same photographs in forms with labels that are always the same."""
    bodies = [_classify_form(photo, labels(n_labels, KNOWN_SEED)) for photo in _some()]
    name = f"classify {n_labels}"
    return Asked(name, "/classify", bodies_file(name.replace(" ", "-"), bodies), MULTIPART)


def _all(precision: str, number: int) -> list[Parameters]:
    same = {"part": "classify", "precision": precision, "round": number}
    return [
        {**same, "clients": 1, "kind": "in turns"},
        {**same, "clients": BUSY, "kind": "embed form"},
        {**same, "clients": BUSY, "kind": f"classify {N_LABELS[-1]}"},
        *({**same, "clients": 1, "kind": "cold", "labels": n} for n in N_LABELS),
    ]


def know(server: Running, n_labels: int) -> None:
    """Have the server see the labels that `classify_known` sends."""
    _ask(server, labels(n_labels, KNOWN_SEED), _some()[0])


def _cold(server: Running, n_labels: int) -> Figures:
    """Milliseconds of requests each of which brings labels that no request had."""
    taken = []
    for number in range(COLD_REQUESTS[n_labels]):
        began = time.perf_counter()
        _ask(server, labels(n_labels, NEW_SEED + number + n_labels), _some()[number])
        taken.append(1000 * (time.perf_counter() - began))
    return {"p50_ms": median(taken), "n": len(taken)}


def _ask(server: Running, words: Sequence[str], photo: bytes) -> None:
    post(server.port, "/classify", _classify_form(photo, words), MULTIPART)


def _classify_form(photo: bytes, words: Sequence[str]) -> bytes:
    return form([_photo(photo), labels_part(words), TOP_K])


def _photo(photo: bytes) -> Part:
    return Part("image", photo, "image/jpeg")


def _some() -> list[bytes]:
    return photos()[:N_PHOTOS]
