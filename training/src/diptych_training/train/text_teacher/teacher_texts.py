"""The texts of a run's text teacher with what it says of them, in the run folder: a resumed run needs neither
the teacher nor the files of texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych_training.checkpoint import write_tensors
from diptych_training.config import TextTeacherConfig
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.paths import expanded, wordnet_dir
from diptych_training.train.text_teacher.sentence_encoder import cached_embeddings, open_sentence_encoder
from diptych_training.train.text_teacher.text_space import TextSpace

TEXTS, TARGETS = "texts", "targets"
TABLE = "text_teacher"


@dataclass(frozen=True)
class TeacherTexts:
    """N texts without line breaks, `targets` (N, dims) float16 of unit norm, and the space that they are
    in.
    """

    texts: Sequence[str]
    targets: Tensor
    space: TextSpace

    def write(self, path: Path) -> None:
        """Write a safetensors file."""
        texts = torch.frombuffer(bytearray("\n".join(self.texts).encode()), dtype=torch.uint8)
        write_tensors(path, {TEXTS: texts, TARGETS: self.targets, **self.space.tensors}, {})

    @classmethod
    def read(cls, path: Path) -> "TeacherTexts":
        """Read what `write` wrote. Raises CheckpointError naming the file."""
        try:
            tensors = load_file(path)
            texts = tensors[TEXTS].numpy().tobytes().decode().split("\n")
            return cls(texts, tensors[TARGETS], TextSpace.from_tensors(tensors))
        except (OSError, KeyError, UnicodeDecodeError, SafetensorError) as error:
            raise CheckpointError(f"{path} has no texts of a teacher: {error}") from error


def teacher_texts(
    config: TextTeacherConfig,
    captions: Iterable[str],
    embed_dim: int,
    device: torch.device,
    class_names: Sequence[str] = (),
) -> TeacherTexts:
    """Let the teacher embed the texts of the recipe, and `captions` if the recipe wants them.

    `class_names` of a classifier are taught too, and are the centre unless the recipe names another.

    Raises ImportFailed if there is no such teacher, TrainingConfigError if a file is missing or the texts do
    not fill a batch.
    """
    texts = _distinct(
        [*class_names, *_read_all(config.texts, "texts"), *(captions if config.captions else ())]
    )
    if len(texts) < config.batch_size:
        raise TrainingConfigError(
            f"{TABLE}: {len(texts)} different texts are fewer than {TABLE}.batch_size, {config.batch_size}"
        )
    encoder = open_sentence_encoder(config.source, device)
    embeddings = cached_embeddings(encoder, texts)
    centre = class_names if config.centre is None else _distinct(_read_all([config.centre], "centre"))
    around = cached_embeddings(encoder, centre) if centre else None
    space = TextSpace.fit(embeddings, config.dims or embed_dim, around)
    return TeacherTexts(texts, torch.from_numpy(space.of(embeddings).astype(np.float16)), space)


def _read_all(files: Iterable[str], key: str) -> Iterator[str]:
    for file in files:
        path = expanded(file)
        if path.parent == wordnet_dir() and not path.exists():
            raise TrainingConfigError(
                f"{TABLE}.{key}: {path} does not exist: `diptych-train data wordnet` writes it"
            )
        try:
            yield from path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TrainingConfigError(f"{TABLE}.{key}: {file} cannot be read as texts: {error}") from error


def _distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, on one line, without empty ones."""
    return list(filter(None, dict.fromkeys(" ".join(text.split()) for text in texts)))
