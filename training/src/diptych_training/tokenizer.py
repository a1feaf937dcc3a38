"""Train a CLIP-style byte-level BPE tokenizer; knows nothing of images or of how texts are used."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from diptych.bundle.text.tokenizer import Clean, clean
from diptych_training.checkpoint import write_atomic
from diptych_training.errors import TrainingConfigError

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
# How the original CLIP cuts text into words: contractions, letters, single digits, runs of anything else.
WORD_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
N_BYTES = 256


def train_tokenizer(texts: Iterable[str], vocab_size: int, mode: Clean = "clip") -> Tokenizer:
    """Learn at most `vocab_size` tokens from texts, cleaned as `mode` says.

    Ids are in the original's order: 256 bytes, 256 bytes that end a word, merges, start, end. The end-of-text
    token has the largest id, so that the text tower finds it by argmax. Raises TrainingConfigError if
    `vocab_size` cannot hold the bytes and both special tokens.
    """
    n_merges = vocab_size - 2 * N_BYTES - 2
    if n_merges < 0:
        raise TrainingConfigError(
            f"model.text.vocab_size is {vocab_size}, it must be at least {2 * N_BYTES + 2}"
        )
    merges = _learn_merges((clean(text, mode) for text in texts), n_merges)
    tokens = _letters() + [left + right for left, right in merges]
    tokens += [START, END]
    vocab = {
        token: index for index, token in enumerate(dict.fromkeys(tokens))
    }  # two merges may make one token
    bpe = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END)
    return _with_frame(bpe, vocab)


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Save as a `tokenizers` JSON file, whole or not at all."""
    write_atomic(path, tokenizer.to_str(pretty=False).encode())


def _letters() -> list[str]:
    """Every byte, and then every byte that ends a word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*alphabet, *(letter + WORD_END for letter in alphabet)]


def _learn_merges(texts: Iterable[str], n_merges: int) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = _word_splitter()
    trainer = trainers.BpeTrainer(
        vocab_size=n_merges + 2 * N_BYTES,
        end_of_word_suffix=WORD_END,
        # Of pairs that are equally frequent the one of the smallest ids is merged first. The library numbers
        # special tokens in their order, and letters that end a word as it meets them, in a random order.
        special_tokens=_letters(),
        show_progress=False,
    )
    # Texts are pulled here, and learned from in a thread of its own: a signal reaches this one alone, and the
    # library would pull in a thread of its own and let nothing in between while it learns.
    pulled = list(texts)
    _beside(lambda: tokenizer.train_from_iterator(pulled, trainer))
    learned: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in learned[:n_merges]]


def _beside(work: Callable[[], object]) -> None:
    """Wait for `work`, which a thread does that this one may leave to its fate."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=run, name="tokenizer", daemon=True).start()
    done.result()


def _with_frame(bpe: models.BPE, vocab: dict[str, int]) -> Tokenizer:
    """Start and end around every text. They are no added tokens: a user's text cannot contain them."""
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _word_splitter()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocab[START]), (END, vocab[END])],
    )
    return tokenizer


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sequence: pre_tokenizers.PreTokenizer = pre_tokenizers.Sequence([split, as_bytes])
    return sequence
