"""Sentence encoders in the layout of sentence-transformers or transformers: a mean over tokens, of unit norm.

Nothing is downloaded and no code of the checkpoint runs. transformers, of the extra `import`, computes.
Embeddings are kept on disk: what was embedded once is not embedded again, even if interrupted.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from diptych_training.errors import ImportFailed
from diptych_training.files import file_lock, open_atomic, read_array
from diptych_training.paths import cache_dir, expanded, package_folder
from diptych_training.progress import progress_bar

Embeddings = NDArray[np.floating[Any]]  # (N, W)

WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"
MODULES, POOLING, LENGTHS = "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"
FILES = (WEIGHTS, TOKENIZER, CONFIG)
KINDS = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
STEPS = {"Transformer", "Pooling", "Normalize"}
MEAN, POOLING_MODE = "pooling_mode_mean_tokens", "pooling_mode"
MAX_LENGTH = 512  # tokens of a text, if the encoder states no limit
BATCH_SIZE = 128
POOLER = "pooler."  # a layer of BERT above the tokens, which a mean does not use


class SentenceEncoder:
    """Embeds texts; `open_sentence_encoder` makes one."""

    def __init__(self, folder: Path, model: Any, tokenizer: Tokenizer) -> None:
        self._folder, self._model = folder, model
        self.tokenizer = tokenizer  # truncates, and adds the special tokens
        self.width: int = model.config.hidden_size

    @cached_property
    def digest(self) -> str:
        """A hash of everything that determines an embedding."""
        found = hashlib.sha256(self.tokenizer.to_str().encode())
        for name in FILES:
            with (self._folder / name).open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, W) float32, rows of unit norm."""
        return self.embed_ids([encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))])

    @torch.inference_mode()
    def embed_ids(self, rows: Sequence[Sequence[int]]) -> Embeddings:
        """The same from N rows of token ids, special tokens included: pieces of words too, which no text
        has alone.
        """
        embeddings = np.empty((len(rows), self.width), dtype=np.float32)
        by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        for start in range(0, len(rows), BATCH_SIZE):
            batch = by_length[start : start + BATCH_SIZE]
            embeddings[batch] = self._embed([rows[index] for index in batch]).cpu().numpy()
        return embeddings

    def _embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).to(self._model.device)  # (B, L)
        hidden = self._model(input_ids=padded.to(self._model.device), attention_mask=mask.long())[0]
        return F.normalize((hidden * mask[..., None]).sum(dim=1), dim=1)  # the mean, but for its length


def open_sentence_encoder(source: str, device: torch.device | str = "cpu") -> SentenceEncoder:
    """Open the encoder in a folder, or in an installed Python package.

    Raises ImportFailed if there is none, if it pools in another way, or if its weights do not fit.
    """
    folder = _find(source)
    _require_mean(folder)
    model = _load(folder).to(device)
    return SentenceEncoder(folder, model, _tokenizer(folder, model.config))


def _find(source: str) -> Path:
    """The folder with the files of an encoder: the given one, that of a package, or one right inside."""
    given = expanded(source)
    root = given if given.is_dir() else package_folder(source)
    if root is None:
        raise ImportFailed(f"{source} is neither a folder nor an installed Python package")
    for folder in (root, *sorted(inside for inside in root.iterdir() if inside.is_dir())):
        if all((folder / name).is_file() for name in FILES):
            return folder
    raise ImportFailed(f"{root} has no sentence encoder: no folder with {', '.join(FILES)}")


def _require_mean(folder: Path) -> None:
    """Raise ImportFailed unless the embedding is a mean over tokens; transformers' folders do not say."""
    if not (folder / MODULES).is_file():
        return
    steps = [str(step["type"]).rpartition(".")[2] for step in _read(folder / MODULES)]
    others = [step for step in steps if step not in STEPS]
    if others:
        raise ImportFailed(f"{folder}: {MODULES} has a {others[0]}: only a mean over tokens is supported")
    pooling = _read(folder / POOLING)
    modes = [key for key, value in pooling.items() if key.startswith(f"{POOLING_MODE}_") and value is True]
    if modes != [MEAN] and pooling.get(POOLING_MODE) != "mean":
        found = ", ".join(modes) or pooling.get(POOLING_MODE)
        raise ImportFailed(f"{folder}: {POOLING} says {found}: only {MEAN} is supported")


def _load(folder: Path) -> Any:
    """The model in float32. Raises ImportFailed if transformers would fill in random weights."""
    kind = _read(folder / CONFIG).get("model_type")
    if kind not in KINDS:
        raise ImportFailed(f"{folder}: model_type is {kind}, it must be one of {', '.join(KINDS)}")
    if find_spec("transformers") is None:
        raise ImportFailed("a sentence encoder needs transformers: pip install 'diptych-training[import]'")
    # Imported here: it is in an extra, and takes seconds.
    from transformers import AutoModel  # noqa: PLC0415

    from diptych_training.importing.hugging_face.library import quiet_library  # noqa: PLC0415

    loaded: Any = AutoModel
    with quiet_library():
        try:
            model, report = loaded.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # the library raises many kinds
            raise ImportFailed(f"{folder}: transformers cannot load the model: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(POOLER))
    if missing:
        raise ImportFailed(f"{folder}: {WEIGHTS} lacks {', '.join(missing[:3])}")
    return model.eval().requires_grad_(False)


def _tokenizer(folder: Path, config: Any) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises bare Exception
        raise ImportFailed(f"{folder / TOKENIZER}: not a tokenizer file: {error}") from error
    stated = _read(folder / LENGTHS) if (folder / LENGTHS).is_file() else {}
    longest = getattr(config, "max_position_embeddings", MAX_LENGTH)
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(stated.get("max_seq_length") or MAX_LENGTH, longest))
    return tokenizer


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailed(f"{file} cannot be read as JSON: {error}") from error


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
