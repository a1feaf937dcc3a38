"""The text tower of word pieces that a run starts from: tokenizer and table are taken from a sentence
encoder.

Model2Vec (Tulkens & van Dongen 2024): a piece's row is what the encoder gives for the piece alone, and a
frequent piece weighs little in the mean (Arora et al. 2017, "A simple but tough-to-beat baseline for sentence
embeddings"). Names of a few words then already stand where the encoder puts them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from diptych.bundle.text.tokenizer import Clean, clean
from diptych_training.errors import TrainingConfigError
from diptych_training.models import WordPiecesConfig
from diptych_training.models.depth import WORD_PIECES
from diptych_training.train.text_teacher.sentence_encoder import SentenceEncoder
from diptych_training.train.text_teacher.text_space import TextSpace

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
N_FIRST, N_SPECIAL = 3, 4  # special tokens before the pieces, and all of them: END has the largest id
CONTINUES = "##"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SMOOTHING = 1e-3  # of a piece's weight: a in a / (a + p)
FRAME_WEIGHT = 1e-4  # of start and end in the mean
CHUNK = 8192  # texts that are split at a time


@dataclass(frozen=True)
class WordPieceVocabulary:
    """The chosen pieces in the order of their ids, from `N_FIRST` on, and how often each occurs."""

    pieces: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Pieces and special tokens."""
        return len(self.pieces) + N_SPECIAL

    def ids(self) -> dict[str, int]:
        """The id of each token."""
        return {token: index for index, token in enumerate([PAD, UNKNOWN, START, *self.pieces, END])}

    def log_weights(self) -> NDArray[np.float32]:
        """(size,) logarithms of the weights of all tokens in a mean."""
        counts = np.array(self.counts, dtype=np.float64)
        weights = np.full(self.size, FRAME_WEIGHT)
        weights[N_FIRST:-1] = SMOOTHING / (SMOOTHING + counts / counts.sum())
        logarithms: NDArray[np.float32] = np.log(weights).astype(np.float32)
        return logarithms


def choose_pieces(
    teacher: Tokenizer, texts: Iterable[str], vocab_size: int, mode: Clean
) -> WordPieceVocabulary:
    """The teacher's pieces that are most frequent in the texts, cleaned as `mode` says, `vocab_size` tokens
    at most. Single letters and digits are always among them, so that any word can be split.

    Raises TrainingConfigError if the teacher's tokenizer is not of word pieces, or `vocab_size` cannot hold
    the letters.
    """
    stated = _word_pieces_of(teacher)
    always = [piece for letter in LETTERS for piece in (letter, CONTINUES + letter) if piece in stated]
    if vocab_size < len(always) + N_SPECIAL:
        raise TrainingConfigError(
            f"model.text.vocab_size is {vocab_size}, it must be at least {len(always) + N_SPECIAL}"
        )
    counts = _counts(teacher, texts, mode)
    ranked = sorted(counts, key=lambda piece: (-counts[piece], stated[piece]))
    kept = list(dict.fromkeys([*always, *ranked]))[: vocab_size - N_SPECIAL]
    kept.sort(key=lambda piece: stated[piece])
    return WordPieceVocabulary(tuple(kept), tuple(max(1, counts[piece]) for piece in kept))


def tokenizer_of(vocabulary: WordPieceVocabulary, teacher: Tokenizer) -> Tokenizer:
    """A tokenizer of these pieces that prepares texts as the teacher's does."""
    ids = vocabulary.ids()
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUES))
    tokenizer.normalizer = teacher.normalizer
    tokenizer.pre_tokenizer = teacher.pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return tokenizer


def first_table(
    vocabulary: WordPieceVocabulary, rows: NDArray[np.float32], vocab_size: int
) -> tuple[Tensor, Tensor]:
    """(pieces, W) unit rows of the pieces -> the table (vocab_size, W) and logarithms of weights
    (vocab_size, 1). Special tokens, and what the vocabulary does not fill, have random rows: with rows of 0,
    a text of unknown words would have no direction.
    """
    table = torch.randn(vocab_size, rows.shape[1], generator=torch.Generator().manual_seed(0))
    table *= rows.shape[1] ** -0.5
    weights = torch.zeros(vocab_size, 1)
    table[N_FIRST : vocabulary.size - 1] = torch.from_numpy(rows)
    weights[: vocabulary.size, 0] = torch.from_numpy(vocabulary.log_weights())
    return table, weights


def framed(teacher: Tokenizer, pieces: Sequence[str]) -> list[list[int]]:
    """The ids that show the teacher each piece alone, between its special tokens."""
    start, end = teacher.encode("").ids
    stated = _word_pieces_of(teacher)
    return [[start, stated[piece], end] for piece in pieces]


def _word_pieces_of(teacher: Tokenizer) -> dict[str, int]:
    stated: dict[str, Any] = json.loads(teacher.to_str())
    kind = stated["model"].get("type")
    if kind != "WordPiece" or len(teacher.encode("").ids) != 2:
        raise TrainingConfigError(
            f"text_teacher.source has a tokenizer of kind {kind}: a text tower of word pieces needs one of "
            "kind WordPiece, with a token before and one after a text"
        )
    special = {token["content"] for token in stated["added_tokens"]}
    return {piece: id for piece, id in stated["model"]["vocab"].items() if piece not in special}


def _counts(teacher: Tokenizer, texts: Iterable[str], mode: Clean) -> Counter[str]:
    counts: Counter[str] = Counter()
    special = {*teacher.encode("").tokens, UNKNOWN}
    cleaned = [clean(text, mode) for text in texts]
    for start in range(0, len(cleaned), CHUNK):
        for encoding in teacher.encode_batch(cleaned[start : start + CHUNK]):
            counts.update(token for token in encoding.tokens if token not in special)
    return counts


def text_start(
    config: WordPiecesConfig, encoder: SentenceEncoder, space: TextSpace, texts: Iterable[str], mode: Clean
) -> tuple[Tokenizer, dict[str, Tensor]]:
    """The tokenizer of the most frequent pieces of the texts, and the weights that are known: the table, the
    weights of the mean, and its projection, which changes nothing.

    `space` has `mean_dim` numbers; the table's further numbers are 0. Raises TrainingConfigError if the
    encoder has no word pieces.
    """
    vocabulary = choose_pieces(encoder.tokenizer, texts, config.vocab_size, mode)
    rows = space.of(encoder.embed_ids(framed(encoder.tokenizer, vocabulary.pieces)))
    table, weights = first_table(vocabulary, rows, config.vocab_size)
    further = config.width - config.mean_dim
    weights_by_name = {
        "token_embedding.weight": torch.nn.functional.pad(table, (0, further)),
        "token_weight.weight": weights,
        "mean_projection.weight": torch.eye(config.mean_dim, config.width),
        "mean_projection.bias": torch.zeros(config.mean_dim),
    }
    start = {f"{WORD_PIECES}{name}": tensor for name, tensor in weights_by_name.items()}
    return tokenizer_of(vocabulary, encoder.tokenizer), start
