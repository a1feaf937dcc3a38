"""Embeddings of texts, kept on disk: what was embedded once is not embedded again, even if interrupted."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from diptych_training.files import file_lock, open_atomic, read_array
from diptych_training.paths import cache_dir
from diptych_training.progress import progress_bar
from diptych_training.text_teacher.sentence_encoder import Embeddings, SentenceEncoder

PART = 4096  # texts of a file: a minute or two of a processor


def cached_embeddings(encoder: SentenceEncoder, texts: Sequence[str]) -> Embeddings:
    """N texts -> (N, W) float16, rows of unit norm.

    Kept in `text_embeddings/` of the cache, in parts named by a hash of encoder and texts.
    """
    folder = cache_dir() / "text_embeddings" / encoder.digest[:16]
    parts = [texts[start : start + PART] for start in range(0, len(texts), PART)]
    files = [folder / f"{_hash(part)}.npy" for part in parts]
    shapes = [(len(part), encoder.width) for part in parts]
    found = [read_array(file, shape, np.float16) for file, shape in zip(files, shapes, strict=True)]
    n_missing = sum(n for (n, _), one in zip(shapes, found, strict=True) if one is None)
    with progress_bar(
        total=n_missing, unit="text", desc="embeddings of texts", disable=not n_missing
    ) as progress:
        for index, (part, file) in enumerate(zip(parts, files, strict=True)):
            if found[index] is not None:
                continue
            with file_lock(file.with_suffix(".lock")):  # another run may need the same texts
                embedded = read_array(file, shapes[index], np.float16)
                if embedded is None:
                    embedded = encoder.embed(part).astype(np.float16)
                    with open_atomic(file) as written:
                        np.save(written, embedded)
                found[index] = embedded
            progress.update(len(part))
    none = np.empty((0, encoder.width), dtype=np.float16)
    return np.concatenate([none, *(one for one in found if one is not None)])


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
