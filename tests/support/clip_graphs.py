"""The text graph of a small CLIP with random weights, with inputs for it; exported once a process.

file, input_ids = clip_text_graph()   # a transformer that is read at the largest id of a text
"""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from numpy.typing import NDArray

from diptych_training.export.onnx.bundle_files import write_text_graph
from diptych_training.models import build_model
from support.tiny_run import (
    CONTEXT_LENGTH,
    TINY_RESNET,
    VOCAB_SIZE,
    tiny_clip,
    tiny_text_spec,
)

START, END = VOCAB_SIZE - 2, VOCAB_SIZE - 1
N_INPUTS = 4


@cache
def clip_text_graph() -> tuple[Path, NDArray[np.int32]]:
    """The file, and ids (N, L): texts of 1, 4, 7 and 10 tokens between start and end, padded with zeros."""
    file = Path(mkdtemp(prefix="clip-")) / "text_encoder.onnx"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(tiny_clip(TINY_RESNET)).eval()
    write_text_graph(model, tiny_text_spec(), file)
    rng, rows = np.random.default_rng(0), np.zeros((N_INPUTS, CONTEXT_LENGTH), np.int32)
    for row, n_tokens in zip(rows, range(1, CONTEXT_LENGTH, 3), strict=True):
        row[: n_tokens + 2] = [START, *rng.integers(1, START, n_tokens), END]
    return file, rows
