"""Training of a CLIP-style byte-level BPE tokenizer."""

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
# The word pattern of the original CLIP: contractions, letters, single digits, runs of anything else.
WORD_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
N_BYTES = 256


def train_tokenizer(texts: Iterable[str], vocab_size: int, mode: Clean = "clip") -> Tokenizer:
    """Learn at most `vocab_size` tokens from texts, cleaned as `mode` says.

    Ids follow the original's order: 256 bytes, 256 bytes that end a word, merges, start, end. The end-of-text
    token has the largest id, so the text tower finds it by argmax. Raises TrainingConfigError if `vocab_size`
    cannot hold the bytes and both special tokens.
    """
    n_merges = vocab_size - 2 * N_BYTES - 2
    if n_merges < 0:
        raise TrainingConfigError(
            f"model.text.vocab_size is {vocab_size}, it must be at least {2 * N_BYTES + 2}"
        )
    merges = _learn_merges((clean(text, mode) for text in texts), n_merges)
    tokens = _letters() + [left + right for left, right in merges]
    tokens += [START, END]
    # two merges may make one token
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    bpe = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END)
    return _with_frame(bpe, vocab)


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Save as a `tokenizers` JSON file, atomically."""
    write_atomic(path, tokenizer.to_str(pretty=False).encode())


def _letters() -> list[str]:
    """Every byte, followed by every byte that ends a word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*alphabet, *(letter + WORD_END for letter in alphabet)]


def _learn_merges(texts: Iterable[str], n_merges: int) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = _word_splitter()
    trainer = trainers.BpeTrainer(
        vocab_size=n_merges + 2 * N_BYTES,
        end_of_word_suffix=WORD_END,
        # Among equally frequent pairs, the one with the smallest ids is merged first. The library numbers
        # special tokens in the given order, but letters that end a word in the random order it meets them.
        special_tokens=_letters(),
        show_progress=False,
    )
    # Texts are read in this thread and learned from in another one. Signals reach only this thread, and the
    # library would read in a thread of its own and block signals while it learns.
    pulled = list(texts)
    _run_in_thread(lambda: tokenizer.train_from_iterator(pulled, trainer))
    learned: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in learned[:n_merges]]


def _run_in_thread(work: Callable[[], object]) -> None:
    """Run `work` in a daemon thread and wait for it, so that a signal can interrupt the wait."""
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
    """Add start and end tokens around every text. They are not added tokens: a user's text cannot contain
    them.
    """
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _word_splitter()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocab[START]), (END, vocab[END])]
    )
    return tokenizer


def _word_splitter() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sequence: pre_tokenizers.PreTokenizer = pre_tokenizers.Sequence([split, as_bytes])
    return sequence
