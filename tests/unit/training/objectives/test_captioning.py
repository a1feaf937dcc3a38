"""VirTex and ICMLM: equal to plain computations from their papers on a tiny case."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych_training.objectives.icmlm import Icmlm, IcmlmConfig
from diptych_training.objectives.virtex import Virtex, VirtexConfig
from diptych_training.objectives.words import Captions
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer
from support.tiny_run import tiny_text_spec

CAPTIONS = ["red apple", "a fast red car", "", "ab"]
N_FEATURES, N_CELLS = 6, 4
RNG = np.random.default_rng(0)


@pytest.fixture
def captions(tmp_path: Path) -> Captions:
    write_tokenizer(train_tokenizer(CAPTIONS * 2, 560), tmp_path / "tokenizer.json")
    return Captions(tmp_path / "tokenizer.json", tiny_text_spec())


def batch_of(captions: Captions, texts: list[str]) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(captions.ids(text)).long() for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.zeros(len(texts), dtype=torch.long)


def normalised(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


def attended(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """One query (W,) and (n, W) keys and values, head by head."""
    d = len(query) // heads
    found = []
    for part in (slice(head * d, (head + 1) * d) for head in range(heads)):
        weights = (keys[:, part] @ query[part] / math.sqrt(d)).softmax(dim=0)
        found.append(weights @ values[:, part])
    return torch.cat(found)


def reference_of_direction(
    objective: Virtex, layers: torch.nn.ModuleList, cells: Tensor, ids: list[int]
) -> float:
    """One caption, token by token: a post-norm decoder without padding and without a mask."""
    heads = layers[0].attn.heads
    grid = cells @ objective.projection.weight.T + objective.projection.bias
    x = [
        normalised(
            objective.token_embedding.weight[token] + objective.positional_embedding[place], objective.ln
        )
        for place, token in enumerate(ids[:-1])
    ]
    for layer in layers:
        width = len(x[0])
        qkv = [layer.attn.in_proj_weight @ one + layer.attn.in_proj_bias for one in x]
        keys = torch.stack([one[width : 2 * width] for one in qkv])
        values = torch.stack([one[2 * width :] for one in qkv])
        y = []
        for place, one in enumerate(x):
            seen = attended(qkv[place][:width], keys[: place + 1], values[: place + 1], heads)
            after = normalised(one + layer.attn.out_proj(seen), layer.ln_1)
            cell_keys, cell_values = layer.grid_attn.key_value(grid).chunk(2, dim=-1)
            seen = attended(layer.grid_attn.query(after), cell_keys, cell_values, heads)
            after_grid = normalised(after + layer.grid_attn.out(seen), layer.ln_2)
            y.append(normalised(after_grid + layer.mlp(after_grid), layer.ln_3))
        x = y
    total = 0.0
    for one, token in zip(x, ids[1:], strict=True):
        logits = objective.token_embedding.weight @ one + objective.output_bias
        total += float(logits[token] - logits.exp().sum().log())
    return total


def reference_of_virtex(objective: Virtex, captions: Captions, cells: Tensor, text: str) -> float:
    ids = captions.ids(text).tolist()
    onward = reference_of_direction(objective, objective.onward, cells, ids)
    return onward + reference_of_direction(objective, objective.backward_, cells, ids[::-1])


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_virtex_is_the_likelihood_of_the_caption_in_both_directions(captions, layers):
    objective = Virtex(VirtexConfig(width=8, heads=2, layers=layers), N_FEATURES, captions)
    grid = torch.randn(len(CAPTIONS), N_CELLS, N_FEATURES)
    expected = -np.mean(
        [reference_of_virtex(objective, captions, *one) for one in zip(grid, CAPTIONS, strict=True)]
    )
    texts = objective.targets(*batch_of(captions, CAPTIONS), RNG)
    assert objective.loss(grid, texts).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_virtex_scores_a_name_by_its_likelihood(captions, layers):
    objective = Virtex(VirtexConfig(width=8, heads=2, layers=layers), N_FEATURES, captions)
    grid = torch.randn(2, N_CELLS, N_FEATURES)
    names = ("apple", "red car", "red apple", "")  # some begin alike, some end alike
    found = objective.class_scores(grid, names, ["{}", "a {}"])
    expected = [
        [
            np.mean([reference_of_virtex(objective, captions, cells, text) for text in (name, f"a {name}")])
            for name in names
        ]
        for cells in grid
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def reference_of_icmlm(objective: Icmlm, cells: Tensor, ids: list[int], place: int) -> float:
    """The log-probability of the token at a place where it is masked, cell by cell."""
    masked = torch.tensor([objective.mask_id if at == place else token for at, token in enumerate(ids)])
    x = objective.token_embedding(masked) + objective.positional_embedding[: len(ids)]
    read = objective.transformer(x[None])[0]
    linear, layer = objective.of_tokens[0], objective.of_tokens[1]
    tokens = [normalised(linear(one), layer).clamp(min=0) for one in read]
    linear, layer = objective.of_cells[0], objective.of_cells[1]
    maxima = []
    for cell in cells:
        seen = normalised(linear(cell), layer).clamp(min=0)
        fits = [float(seen @ token) / math.sqrt(len(token)) for token in tokens]
        maxima.append(math.log(sum(map(math.exp, fits))))
    weights = [math.exp(one) / sum(map(math.exp, maxima)) for one in maxima]
    pooled = sum(weight * cell for weight, cell in zip(weights, cells, strict=True))
    first, _, second = objective.predict
    logits = second.weight @ (first.weight @ pooled + first.bias).clamp(min=0) + second.bias
    return float(logits[ids[place]] - logits.exp().sum().log())


@torch.no_grad()
def test_icmlm_is_the_likelihood_of_the_masked_token(captions):
    objective = Icmlm(IcmlmConfig(width=8, heads=2), N_FEATURES, captions)
    grid = torch.randn(len(CAPTIONS), N_CELLS, N_FEATURES)
    input_ids, labels = batch_of(captions, CAPTIONS)
    texts = objective.targets(input_ids, labels, RNG)
    expected = 0.0
    for cells, text, masked in zip(grid, CAPTIONS, texts.input_ids.tolist(), strict=True):
        if objective.mask_id in masked:
            ids = captions.ids(text).tolist()
            expected -= reference_of_icmlm(objective, cells, ids, masked.index(objective.mask_id))
    assert objective.loss(grid, texts).item() == pytest.approx(expected / len(CAPTIONS), rel=1e-5)


def test_icmlm_masks_one_token_of_each_caption_that_has_one(captions):
    objective = Icmlm(IcmlmConfig(width=8, heads=2), N_FEATURES, captions)
    input_ids, labels = batch_of(captions, CAPTIONS)
    places = set()
    for seed in range(200):
        texts = objective.targets(input_ids, labels, np.random.default_rng(seed))
        is_masked = texts.input_ids == objective.mask_id
        assert is_masked.sum(dim=1).tolist() == [1, 1, 0, 1]
        assert torch.equal(texts.input_ids[~is_masked], input_ids[~is_masked])
        assert texts.targets[[0, 1, 3], 0].tolist() == input_ids[is_masked].tolist()
        assert texts.targets[2].tolist() == [-1]
        places.add(int(is_masked[1].nonzero()))
    assert places == set(range(1, len(captions.ids(CAPTIONS[1])) - 1))


@torch.no_grad()
def test_icmlm_scores_a_name_by_the_mean_over_its_masked_tokens(captions):
    objective = Icmlm(IcmlmConfig(width=8, heads=2), N_FEATURES, captions)
    grid = torch.randn(2, N_CELLS, N_FEATURES)
    found = objective.class_scores(grid, ["apple", "red car", ""], ["{}"])
    for row, cells in zip(found.tolist(), grid, strict=True):
        for score, name in zip(row, ("apple", "red car"), strict=False):
            ids = captions.ids(name).tolist()
            expected = np.mean(
                [reference_of_icmlm(objective, cells, ids, at) for at in range(1, len(ids) - 1)]
            )
            assert score == pytest.approx(expected, rel=1e-5)
        assert row[2] == -math.inf
