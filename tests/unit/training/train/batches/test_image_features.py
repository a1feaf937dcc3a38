"""A locked tower whose features are computed once: the same run, without the tower in its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from diptych.bundle.encoder import Embeddings, Pixels
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.models import CLIP, build_model
from diptych_training.train.batches import image_features
from diptych_training.train.batches.image_features import ImageFeatures
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.train_run import prepare
from support.small_recipe import small_recipe
from support.stopped_run import stopped_after
from support.tiny_run import TINY_RESNET

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji", "cache", "graphs_exported_once")


def recipe(*, cache: bool = True, **tables: object) -> TrainConfig:
    return small_recipe(TINY_RESNET, lock={"image": "all", "cache": cache}, **tables)


def loop_of(config: TrainConfig, dataset: PackedDataset, folder: Path, *, resume: bool = False) -> Loop:
    return prepare(config, dataset, folder, resume=resume)


def trained(loop: Loop) -> dict[str, Series]:
    """The loss and the metrics of validation of a run to its end, or to where it is stopped."""
    loop.train()
    loop.log.close()
    found = read_metrics(loop.folder.metrics_file)
    return {name: series for name, series in found.items() if name == "loss" or "top" in name}


@contextmanager
def computed_images(stop_at: int | None = None) -> Iterator[list[Pixels]]:
    """The batches whose features are computed; the block `stop_at` is interrupted."""
    batches: list[Pixels] = []
    n_blocks, run_graph = 0, image_features.run_graph

    def noted(graph: Path, some: list[Pixels]) -> Embeddings:
        nonlocal n_blocks
        n_blocks += 1
        if n_blocks == stop_at:
            raise KeyboardInterrupt
        batches.extend(some)
        return run_graph(graph, some)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_features, "run_graph", noted)
        yield batches


def tiny_model(seed: int = 0) -> CLIP:
    torch.manual_seed(seed)
    return build_model(recipe().model)


def assert_same_series(found: dict[str, Series], expected: dict[str, Series]) -> None:
    assert found.keys() == expected.keys()
    for name, series in expected.items():
        assert dict(found[name]) == pytest.approx(dict(series), rel=1e-5), name


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_run_has_the_losses_and_scores_of_one_without_a_cache(dataset, tmp_path, chunk_size):
    rehearsal = {"old": {"data": str(dataset.path), "share": 0.25}}
    tables = {
        "data": {"mixture": {"icons": 1.0}, "rehearsal": rehearsal},
        "scale": {"chunk_size": chunk_size},
    }
    plain = trained(loop_of(recipe(cache=False, **tables), dataset, tmp_path / "plain"))
    cached = trained(loop_of(recipe(**tables), dataset, tmp_path / "cached"))
    assert len(plain["loss"]) == 8
    assert "validation/icons_top1" in plain
    assert_same_series(cached, plain)


def test_a_step_runs_no_image_tower(dataset, tmp_path, monkeypatch):
    loop = loop_of(recipe(), dataset, tmp_path / "run")
    calls: list[object] = []
    monkeypatch.setattr(type(loop.state.model.visual), "forward", calls.append)
    loop.gradient_step.forward_backward(loop.batches.make(0))
    assert calls == []
    loop.log.close()


def test_a_resumed_run_continues_and_computes_no_feature_again(dataset, tmp_path):
    unbroken = trained(loop_of(recipe(), dataset, tmp_path / "unbroken"))
    trained(stopped_after(loop_of(recipe(), dataset, tmp_path / "broken"), 4))
    with computed_images() as computed:
        resumed = loop_of(recipe(), dataset, tmp_path / "broken", resume=True)
    assert computed == []
    assert_same_series(trained(resumed), unbroken)


def test_an_interrupted_computation_goes_on_where_it_stopped(dataset, cache, monkeypatch):
    monkeypatch.setattr(image_features, "BLOCK", 8)
    features, sources = ImageFeatures(tiny_model(), recipe(), cache), dataset.sources("train")
    with computed_images(stop_at=2) as computed, pytest.raises(KeyboardInterrupt):
        features(sources)
    assert [len(batch) for batch in computed] == [8]
    with computed_images() as computed:
        found = features(sources)
    assert [len(batch) for batch in computed] == [8, 4]
    with torch.no_grad():
        expected = tiny_model().eval().encode_image(normalised(dataset))
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=1))


def normalised(dataset: PackedDataset) -> torch.Tensor:
    """All training images, normalised as the recipe says."""
    images = np.concatenate([source.images for source in dataset.sources("train")])
    spec = recipe().preprocess
    pixels = (images / 255 - np.array(spec.mean)) / np.array(spec.std)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def test_other_weights_or_another_preparation_have_features_of_their_own(dataset, cache):
    sources = dataset.sources("train")
    spec = recipe().preprocess.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    kinds = [(tiny_model(), recipe()), (tiny_model(1), recipe()), (tiny_model(), recipe(preprocess=spec))]
    first = [ImageFeatures(model, config, cache)(sources) for model, config in kinds]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(first[one], first[other])
    with computed_images() as computed:
        again = [ImageFeatures(model, config, cache)(sources) for model, config in kinds]
    assert computed == []
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"lock": {"image": 2, "cache": True}}, 'lock.image is 2, but lock.cache needs "all"'),
        ({"augment": {"blur_probability": 0.25}}, "augment.blur_probability is 0.25, but lock.cache"),
        ({"run": {"start_size": 16, "start_fraction": 0.5}}, "run.start_size is 16, but lock.cache"),
        (
            {"data": {"pairs": {"train": ["a.tar", "b.tar"]}}},
            'data.pairs.train is "a.tar, b.tar", but lock.cache',
        ),
        ({"distill": {"teachers": ["one"]}}, "distill.teachers need the pixels"),
        ({"objective": {"kind": "bag_of_words"}}, 'objective is "bag_of_words", but lock.cache'),
        ({"scale": {"shard": True}}, "scale.shard is true, but lock.cache"),
    ],
)
def test_what_needs_pixels_in_each_step_is_refused(tables, message):
    with pytest.raises(ValidationError, match=message):
        small_recipe(TINY_RESNET, **{"lock": {"image": "all", "cache": True}, **tables})
