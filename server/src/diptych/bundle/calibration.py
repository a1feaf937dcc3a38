"""The calibration of a version: what turns the cosines of a search into the relevance of its hits.

It is the file `<version>.calibration.npz` next to the folder of the version, which it does not change:

bank    float16 (M, D)   embeddings of unit norm of M pictures that hits are compared with
about   uint8            JSON in UTF-8: `format`, `identity`, and `maps` by the kind of query
"""

import functools
import io
import json
import math
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import Manifest, identity
from diptych.bundle.part import Part
from diptych.durable import fsync_folder, write_durably
from diptych.errors import CorruptBundle

SUFFIX = ".calibration.npz"
FORMAT = 1
MIN_BANK, MAX_BANK = 2, 20_000
MAX_ARRAY_BYTES = 128 * 2**20
NORM_TOLERANCE = 0.01  # of the rows of the bank, which are float16
MIN_DEVIATION = 1e-6
SLACK = 1.2  # the cohort may spread by so much more than a normal distribution: that is noise
TINY_SHARE = 1e-6
MAX_LOG_ODDS = 50.0
MAX_ERROR = 0.2  # of a map; the relevance of a random model, which means nothing, has about 0.5
MIN_QUERIES = 50  # that a map was fitted on
TEMPORARY_PREFIX = ".tmp-"
DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, RecursionError)

QueryKind = Literal["text", "image"]
# Below it, hits rarely fit: measured in tests/benchmarks/relevance.py.
RECOMMENDED_RELEVANCE = 0.1
Probabilities = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]


class RelevanceMap(Part):
    """The map of one kind of query, from standard scores to a probability.

    A standard score is (cosine - mean) / deviation of the query's cosines to the bank, as `background` has
    them for the `cohort`. With the score z of a hit, the best score b of its search and n images that were
    compared, the log-odds of its relevance are
    `slope` * (z - `width` * (b - z) - `floor`) - `growth` * log(n / M).

    `error` is the expected calibration error on `n_queries` queries that it was not fitted on.
    """

    floor: float = Field(ge=-100, le=100)
    width: float = Field(ge=0, le=100)
    slope: float = Field(gt=0, le=100)
    growth: float = Field(ge=0, le=10)
    cohort: tuple[Share, Share] = (0.0, 1.0)  # the whole bank, as in files without it
    error: float | None = Field(default=None, ge=0, le=1)
    n_queries: int = Field(default=0, ge=0)

    @field_validator("cohort")
    @classmethod
    def _is_ordered(cls, cohort: tuple[float, float]) -> tuple[float, float]:
        if cohort[0] >= cohort[1]:
            raise ValueError(f"cohort is {cohort}, its first share must be below its second")
        return cohort

    @property
    def ignored(self) -> str | None:
        """Why the map gives no relevance: it would mislead; None if it gives one."""
        if self.error is not None and self.error > MAX_ERROR:
            return f"its calibration error is {self.error:g}, more than {MAX_ERROR}"
        if self.n_queries < MIN_QUERIES:
            return f"it was fitted on {self.n_queries} queries, fewer than {MIN_QUERIES}"
        return None

    def probabilities(
        self,
        scores: NDArray[np.float64],
        best: NDArray[np.float64] | float,
        log_size: NDArray[np.float64] | float,
    ) -> Probabilities:
        """The relevance of hits with these standard scores; `log_size` is log(n / M)."""
        effective = np.asarray(scores - self.width * (best - scores), dtype=np.float64)
        log_odds = self.slope * (effective - self.floor) - self.growth * log_size
        found: Probabilities = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)))
        return found


@dataclass(frozen=True, eq=False)
class Calibration:
    """The numbers that turn cosines into relevance, for the vectors of one identity.

    `identity` is that of `calibrated_identity`. `bank` is (M, D), of unit norm. A kind of query that is not
    in `maps`, or whose map is ignored, has no relevance.
    """

    identity: str
    bank: Embeddings
    maps: Mapping[QueryKind, RelevanceMap]

    def without(self, kind: QueryKind) -> str | None:
        """Why hits of this kind of query have no relevance; None if they have one."""
        return self.maps[kind].ignored if kind in self.maps else "it has no map for them"

    def relevance(
        self, kind: QueryKind, query: Embeddings, cosines: Embeddings, *, best: float, n_images: int
    ) -> Probabilities | None:
        """The relevance in [0, 1] of hits with these cosines to a query (D,).

        `best` is the highest cosine of the search, `n_images` the number of images that it compared. None if
        this kind of query has no relevance.
        """
        if self.without(kind) is not None:
            return None
        one = self.maps[kind]
        mean, deviation = background(self.bank @ query, one.cohort)
        scores = (np.asarray(cosines, np.float64) - mean) / deviation
        log_size = math.log(max(n_images, 1) / len(self.bank))
        return one.probabilities(scores, float((best - mean) / deviation), log_size)


def background(
    cosines: Embeddings, cohort: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of the cosines (..., M) of queries to a bank: two of (...).

    The cohort is the pictures of the bank between its two shares, nearest to the query first. If the cosines
    were normally distributed, mean and deviation of the cohort would give those of the bank. For a text that
    asks for photographs, the cohort has higher cosines that spread more, and the higher values are returned:
    a photograph must stand out from photographs, not from a bank that is mostly drawings. This is adaptive
    score normalisation (Matějka et al. 2017), for the queries that need it.
    """
    m = cosines.shape[-1]
    first, last = (round(share * m) for share in cohort)
    nearest = np.sort(cosines, axis=-1)[..., max(m - max(last, first + MIN_BANK), 0) : m - first]
    above, spread = _normal_between(*cohort)
    deviation = np.maximum(cosines.std(axis=-1), nearest.std(axis=-1) / (SLACK * spread))
    mean = np.maximum(cosines.mean(axis=-1), nearest.mean(axis=-1) - above * deviation)
    return mean, np.maximum(deviation, MIN_DEVIATION)


@functools.cache
def _normal_between(first: float, last: float) -> tuple[float, float]:
    """Mean and deviation of the standard normal distribution between two shares, of its highest values."""
    normal = NormalDist()
    high, low = (normal.inv_cdf(1 - min(max(share, TINY_SHARE), 1 - TINY_SHARE)) for share in (first, last))
    mean = (normal.pdf(low) - normal.pdf(high)) / (last - first)
    square = 1 + (low * normal.pdf(low) - high * normal.pdf(high)) / (last - first)
    return mean, math.sqrt(max(square - mean**2, MIN_DEVIATION))


def calibration_file(folder: Path) -> Path:
    """The calibration that belongs to the version in `folder`; it need not exist."""
    return folder.with_name(f"{folder.name}{SUFFIX}")


def calibrated_identity(manifest: Manifest) -> str:
    """The identity that a calibration names: that of the float32 graphs, or of the first precision.

    Name and number of the version do not count, so that a copy under another number keeps its calibration.
    """
    precision = "fp32" if "fp32" in manifest.precisions else min(manifest.precisions)
    return identity(manifest, precision, "exact")


def how_to_calibrate(version: str) -> str:
    """What gives search hits of a version, such as "everyday/1", a relevance."""
    return (
        f"`diptych-train calibrate {version}` gives them one; if the version has left the model repository, "
        f"put it back first, or only {version}{SUFFIX}"
    )


def read_calibration(file: Path, manifest: Manifest) -> Calibration:
    """Read the calibration of a version.

    Raises FileNotFoundError, and CorruptBundle for a file that is damaged, or belongs to another version.
    """
    label = f"{file.parent.name}/{file.name}"
    try:
        with file.open("rb") as opened, zipfile.ZipFile(opened) as archive:
            about = json.loads(_array(archive, "about", np.uint8, 1).tobytes())
            bank = _array(archive, "bank", np.float16, 2).astype(np.float32)
        calibration = _checked(about, bank, manifest.embed_dim)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        raise CorruptBundle(f"{label}: not a calibration: {error.errors()[0]['msg']}") from error
    except DAMAGE as error:
        raise CorruptBundle(f"{label}: not a calibration: {error}") from error
    if calibration.identity != calibrated_identity(manifest):
        raise CorruptBundle(
            f"{label}: made for other vectors ({calibration.identity[:8]}) than those of "
            f"{manifest.name}/{manifest.version} ({calibrated_identity(manifest)[:8]})"
        )
    return calibration


def write_calibration(file: Path, calibration: Calibration) -> None:
    """Write the file durably by one rename. The same calibration always gives the same bytes."""
    about = {
        "format": FORMAT,
        "identity": calibration.identity,
        "maps": {kind: one.model_dump() for kind, one in sorted(calibration.maps.items())},
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        bank=calibration.bank.astype(np.float16),
        about=np.frombuffer(json.dumps(about, allow_nan=False).encode(), dtype=np.uint8),
    )
    temporary = file.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        write_durably(temporary, content.getvalue())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(file.parent)


def _array(archive: zipfile.ZipFile, name: str, dtype: type[np.generic], n_dims: int) -> NDArray[Any]:
    """An array of the archive. Its size is checked before anything of it is unpacked."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"{name} has {member.file_size:,} bytes, limit is {MAX_ARRAY_BYTES:,}")
    content = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name} has an array header of an unknown version")
    shape, in_columns, found = np.lib.format.read_array_header_1_0(content)
    data = content.read()
    if found != np.dtype(dtype) or len(shape) != n_dims or in_columns:
        raise ValueError(f"{name} is {found} {shape}, it must be {np.dtype(dtype)} of {n_dims} dimensions")
    if math.prod(shape) * found.itemsize != len(data):
        raise ValueError(f"{name} has {len(data):,} bytes, its shape is {shape}")
    return np.frombuffer(data, dtype=found).reshape(shape)


def _checked(about: dict[str, Any], bank: Embeddings, embed_dim: int) -> Calibration:
    """Raises one of DAMAGE, ValidationError."""
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']!r}, this reader knows {FORMAT}")
    if not MIN_BANK <= len(bank) <= MAX_BANK or bank.shape[1] != embed_dim:
        raise ValueError(
            f"bank is {bank.shape}, it must have {MIN_BANK} to {MAX_BANK:,} rows of {embed_dim} numbers"
        )
    worst = float(np.abs(np.linalg.norm(bank, axis=1) - 1).max())
    if not worst <= NORM_TOLERANCE:  # written so that NaN fails
        raise ValueError(f"norms of bank differ from 1 by {worst}, bound is {NORM_TOLERANCE}")
    maps: dict[QueryKind, RelevanceMap] = {}
    for kind, stated in about["maps"].items():
        if kind not in get_args(QueryKind):
            raise ValueError(f"it maps queries of kind {kind!r}, there is: {', '.join(get_args(QueryKind))}")
        maps[kind] = RelevanceMap.model_validate(stated)
        _require_cohort(maps[kind].cohort, len(bank))
    if not isinstance(about["identity"], str):
        raise TypeError(f"identity is {about['identity']!r:.80}")
    return Calibration(about["identity"], bank, maps)


def _require_cohort(cohort: tuple[float, float], m: int) -> None:
    """Raises ValueError for a cohort that `background` cannot fill."""
    n_left = m - round(cohort[0] * m)
    if n_left < MIN_BANK:
        raise ValueError(
            f"cohort is {cohort}, which leaves {n_left} of the {m} rows of bank, it must leave {MIN_BANK}"
        )
