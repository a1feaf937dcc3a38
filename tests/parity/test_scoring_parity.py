"""Scores of `/classify` against those that transformers' own models give, from the same embeddings."""

import asyncio
import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.types import TextEmbedding
from unit.core.core_fakes import FakeMetrics, model_info

LABELS = ["a", "b", "c", "d"]
TEXTS = [*LABELS, ""]  # the last is what CLIP's multi-label scores compare with
TOLERANCE = 1e-5  # float32 rounding: sums are taken in another order
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "vocab_size": 50, "max_position_embeddings": 8}
VISION = {**TOWER, "image_size": 16, "patch_size": 8}


class GivenTexts:
    """In place of an embedder: the embeddings are known."""

    max_texts = 8

    def __init__(self, rows: Any) -> None:
        self._rows = dict(zip(TEXTS, rows, strict=True))

    async def embed_texts(self, texts: list[str]) -> list[TextEmbedding]:
        return [TextEmbedding(self._rows[text], truncated=False) for text in texts]


def answer_of(model: torch.nn.Module) -> Any:
    """Their logits and embeddings of 3 images and 5 texts."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 49, (len(TEXTS), 8), generator=generator)
    pixels = torch.randn(3, 3, 16, 16, generator=generator)
    with torch.no_grad():
        return model.eval()(input_ids=ids, pixel_values=pixels)


def clip(logit_scale: float) -> Any:
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16))
    model.logit_scale.data.fill_(math.log(logit_scale))
    return answer_of(model)


def siglip(logit_scale: float, logit_bias: float) -> Any:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))
    model.logit_scale.data.fill_(math.log(logit_scale))
    model.logit_bias.data.fill_(logit_bias)
    return answer_of(model)


def scores(answer: Any, *, multi_label: bool, **model: Any) -> Any:
    """Ours, (3 images, 4 labels) in the order of the labels."""
    images, texts = answer.image_embeds.numpy(), answer.text_embeds.numpy()
    info = model_info(embed_dim=images.shape[1], **model)
    part = LabelClassifier(model=info, embedder=GivenTexts(texts), metrics=FakeMetrics())  # type: ignore[arg-type]
    found = asyncio.run(part.classify(images, LABELS, ("{}",), multi_label=multi_label))
    return np.array([[{one.label: one.score for one in row}[label] for label in LABELS] for row in found])


@pytest.mark.parametrize("logit_scale", [14.3, 100.0])
def test_softmax_of_clip_matches_transformers(logit_scale: float) -> None:
    answer = clip(logit_scale)
    theirs = answer.logits_per_image[:, : len(LABELS)].softmax(dim=1).numpy()
    ours = scores(answer, multi_label=False, family="clip", logit_scale=logit_scale)
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.mark.parametrize("logit_scale", [14.3, 100.0])
def test_multi_label_of_clip_matches_softmax_against_the_empty_label(logit_scale: float) -> None:
    answer = clip(logit_scale)
    logits = answer.logits_per_image
    pairs = torch.stack([logits[:, :-1], logits[:, -1:].expand(-1, len(LABELS))], dim=-1)  # (3, C, 2)
    ours = scores(answer, multi_label=True, family="clip", logit_scale=logit_scale)
    np.testing.assert_allclose(ours, pairs.softmax(dim=-1)[..., 0].numpy(), atol=TOLERANCE)


@pytest.mark.parametrize(("logit_scale", "logit_bias"), [(10.0, -10.0), (117.3, -12.9)])
def test_multi_label_of_siglip_matches_sigmoid_of_transformers(logit_scale: float, logit_bias: float) -> None:
    answer = siglip(logit_scale, logit_bias)
    theirs = answer.logits_per_image[:, : len(LABELS)].sigmoid().numpy()
    ours = scores(answer, multi_label=True, family="siglip", logit_scale=logit_scale, logit_bias=logit_bias)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=TOLERANCE)
    assert theirs.std() > 0


@pytest.mark.parametrize(("logit_scale", "logit_bias"), [(10.0, -10.0), (117.3, -12.9)])
def test_softmax_of_siglip_matches_softmax_of_logits_of_transformers(
    logit_scale: float, logit_bias: float
) -> None:
    answer = siglip(logit_scale, logit_bias)
    theirs = answer.logits_per_image[:, : len(LABELS)].softmax(dim=1).numpy()
    ours = scores(answer, multi_label=False, family="siglip", logit_scale=logit_scale, logit_bias=logit_bias)
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
