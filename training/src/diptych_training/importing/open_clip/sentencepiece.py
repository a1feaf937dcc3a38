"""A SentencePiece vocabulary on its own, as SigLIP's was published, in a folder that transformers reads."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from diptych_training.errors import ImportFailed

model_format: Any = sentencepiece_model_pb2  # made at run time from a description

SUFFIX = ".model"
UNIGRAM = 1  # `TrainerSpec.ModelType` of sentencepiece's model format
# open_clip's settings for SigLIP's English and multilingual vocabularies, which are T5's: the end-of-text
# token is also the padding, and the vocabulary's own sentinels are all there are.
T5_CONFIG = {
    "tokenizer_class": "T5Tokenizer",
    "extra_ids": 0,
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "</s>",
}


@contextmanager
def staged_vocabulary(source: Path) -> Iterator[str]:
    """The name under which transformers finds `source`: itself, or a folder made around a vocabulary file.

    Raises ImportFailed for a vocabulary of another kind than T5's, such as Gemma's.
    """
    if source.suffix != SUFFIX or not source.is_file():
        yield str(source)
        return
    _require_unigram(source)
    with TemporaryDirectory() as folder:
        shutil.copyfile(source, Path(folder) / "spiece.model")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(T5_CONFIG), encoding="utf-8")
        yield folder


def _require_unigram(file: Path) -> None:
    try:
        kind = model_format.ModelProto.FromString(file.read_bytes()).trainer_spec.model_type
    except Exception as error:  # protobuf has an error of its own, without types
        raise ImportFailed(f"{file}: not a SentencePiece vocabulary: {error}") from error
    if kind != UNIGRAM:
        raise ImportFailed(
            f"{file}: SentencePiece model type {kind}, only Unigram can be read from its file alone: pass "
            "the folder of a tokenizer that transformers saved as --tokenizer"
        )
