"""Reads and completes a bundle's `manifest.json`, strictly."""

import hashlib
import json
from collections import Counter
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from diptych.bundle.parity import Parity
from diptych.bundle.schema import (
    COSINE_BOUNDS,
    GOLDEN_FILE,
    GRAPH_PRECISIONS,
    GRAPHS_OF,
    MANIFEST_FILE,
    MATRYOSHKA_DIMENSIONS,
    NAME_PATTERN,
    SCHEMA_VERSION,
    TENSORRT,
    TOKENIZER_FILE,
    FileEntry,
    ImageSpec,
    Manifest,
    ManifestDraft,
    Precision,
    TextSpec,
)
from diptych.errors import InvalidManifest

__all__ = [
    "COSINE_BOUNDS",
    "GOLDEN_FILE",
    "GRAPHS_OF",
    "GRAPH_PRECISIONS",
    "MANIFEST_FILE",
    "MATRYOSHKA_DIMENSIONS",
    "NAME_PATTERN",
    "SCHEMA_VERSION",
    "TOKENIZER_FILE",
    "FileEntry",
    "ImageSpec",
    "Manifest",
    "ManifestDraft",
    "Parity",
    "Precision",
    "TextSpec",
    "bundle_digest",
    "complete",
    "identity",
    "parse_manifest",
    "read_manifest",
]

MAX_ERRORS_SHOWN = 5
N_PARSED = 32  # manifests that are kept: each listing of the models needs them
DATA_SUFFIXES = (".data", "_data")  # of external data files, after the name of their graph


def complete(
    draft: ManifestDraft, name: str, version: int, created_at: datetime, files: dict[str, FileEntry]
) -> Manifest:
    """Turn a draft into the manifest that is about to be published. Raises InvalidManifest."""
    stated = draft.model_dump()
    try:
        return Manifest(
            **stated,
            schema_version=draft.lowest_schema,
            name=name,
            version=version,
            created_at=created_at,
            files=files,
        )
    except ValidationError as error:
        raise InvalidManifest(f"{name}/{version}/{MANIFEST_FILE}: {_summary(error)}") from error


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`. Raises InvalidManifest naming the file, the key and the value."""
    label = f"{folder.parent.name}/{folder.name}/{MANIFEST_FILE}"
    try:
        raw = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise InvalidManifest(f"{label}: cannot be read: {error.strerror}") from error
    return parse_manifest(raw, label)


@lru_cache(maxsize=N_PARSED)
def parse_manifest(raw: bytes, label: str) -> Manifest:
    """Parse the bytes of a manifest. Raises InvalidManifest; its message begins with `label`."""
    _check_schema(label, raw)
    try:
        return Manifest.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise InvalidManifest(f"{label}: {_summary(error)}") from error


def bundle_digest(folder: Path) -> str:
    """The sha256 hex of a bundle's manifest, which lists the sha256 of every other file. Raises OSError."""
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def identity(manifest: Manifest, precision: str, decode: str) -> str:
    """The identity of a model's vectors: sha256 hex over everything that makes them.

    That is the precision with its two graphs and their weights, the tokenizer, the manifest's sections about
    images and texts, and the decode mode. The precision is the bound that every runtime of the graphs keeps.
    Prompts do not count, since what derives from them has them in its own key. Keys at their defaults are
    left out, so that a key that is added later changes no identity.
    """
    graphs = manifest.graphs(precision)
    parts = {
        "precision": precision,
        "image_graph": [manifest.files[file].sha256 for file in graph_files(manifest, graphs.image_file)],
        "text_graph": [manifest.files[file].sha256 for file in graph_files(manifest, graphs.text_file)],
        "tokenizer": manifest.files[TOKENIZER_FILE].sha256,
        "image": manifest.image.model_dump(mode="json", exclude_defaults=True),
        "text": manifest.text.model_dump(mode="json", exclude_defaults=True, exclude={"prompts"}),
        "decode": decode,
    }
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def graph_files(manifest: Manifest, graph: str) -> list[str]:
    """A graph's file and its external data files.

    A data file that is named after no graph counts for each of them.
    """
    graphs = {file for part in manifest.precisions.values() for file in (part.image_file, part.text_file)}
    data_of_others = {f"{other}{end}" for other in graphs - {graph} for end in DATA_SUFFIXES}
    data = [file for file in sorted(manifest.files) if file.endswith(DATA_SUFFIXES)]
    return [file for file in (graph, *data) if file not in data_of_others]


def _check_schema(label: str, raw: bytes) -> None:
    """Raises InvalidManifest for what other releases wrote, before its unknown keys are reported."""

    def without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        """A JSON object.

        Raises InvalidManifest for a key that occurs twice: readers differ in which value they take.
        """
        twice = next((key for key, n in Counter(key for key, _ in pairs).items() if n > 1), None)
        if twice is not None:
            raise InvalidManifest(f"{label}: the key {twice!r:.80} occurs twice in one object")
        return dict(pairs)

    try:
        stated = json.loads(raw, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{label}: not JSON: {error}") from error
    if not isinstance(stated, dict):
        raise InvalidManifest(f"{label}: must be a JSON object, not {type(stated).__name__}")
    version = stated.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InvalidManifest(
            f"{label}: schema_version {version} is newer than {SCHEMA_VERSION}, the newest this diptych reads"
        )
    if TENSORRT in stated:
        raise InvalidManifest(
            f"{label}: the version holds TensorRT plans, which this diptych no longer reads: serve the "
            "version with ONNX graphs that they were built from, with --tensorrt"
        )


def _summary(error: ValidationError) -> str:
    """The first few problems, each as `key: message (got value)`."""
    problems = error.errors(include_url=False, include_context=False)
    shown = [_problem(problem) for problem in problems[:MAX_ERRORS_SHOWN]]
    hidden = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {hidden} more" if hidden else "")


def _problem(problem: ErrorDetails) -> str:
    key, message = ".".join(str(part) for part in problem["loc"]), problem["msg"]
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    value = problem["input"]
    given = "" if isinstance(value, dict | BaseModel) else f" (got {value!r:.80})"
    return f"{key}: {message}{given}" if key else message
