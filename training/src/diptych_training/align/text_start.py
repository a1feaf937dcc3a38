"""The text tower of word pieces that a run starts from: names of a few words already stand where a sentence
encoder puts them.
"""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.text.tokenizer import Clean
from diptych_training.align.word_pieces import choose_pieces, first_table, framed, tokenizer_of
from diptych_training.models import WordPiecesConfig
from diptych_training.models.depth import WORD_PIECES
from diptych_training.text_teacher.sentence_encoder import SentenceEncoder
from diptych_training.text_teacher.text_space import TextSpace


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
