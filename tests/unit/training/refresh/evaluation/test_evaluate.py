"""The old model, the tuned one and their mixes on two sets, stored and resumed."""

import pytest
from torch import Tensor

from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.evaluated_model import evaluated_run
from diptych_training.evaluate.measure import evaluate
from diptych_training.refresh.evaluation.evaluate import evaluate_mixes
from diptych_training.refresh.evaluation.mixes import Mixes
from diptych_training.refresh.evaluation.results import Evaluation, read_stored
from support.picture_sets import write_pictures
from support.tiny_run import TINY_VIT, write_tiny_run

THINGS = [f"thing {index}" for index in range(12)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return load_run(write_tiny_run(tmp_path_factory.mktemp("runs") / "mine", image=TINY_VIT))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = write_tiny_run(tmp_path_factory.mktemp("runs") / "before", image=TINY_VIT, seed=1)
    return dict(load_run(folder).model.state_dict())


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_pictures(
        tmp_path_factory.mktemp("sets") / "mine",
        {
            "held-out": ("validation", "pairs", ["red star", "blue star", "moon", "sun"]),
            "learned": ("train", "pairs", ["red star"] * 6),
        },
    )


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_pictures(
        tmp_path_factory.mktemp("sets") / "proof",
        {"drawn": ("validation", "icons", THINGS), "shot": ("validation", "pairs", THINGS[:2] * 4)},
        seed=1,
    )


def quiet(_: int) -> None:
    """Report no progress."""


def test_every_mix_is_measured_on_both_sets(run, old, own, shipped):
    embedded: list[int] = []

    evaluation = evaluate_mixes(Mixes(run, old, own, shipped), [0.5, 1], advance=embedded.append)

    assert [mix.alpha for mix in evaluation.mixes] == [0, 0.5, 1]
    assert sum(embedded) == 3 * 24
    assert (evaluation.own, evaluation.shipped, evaluation.n_own_pairs) == ("mine", "proof", 10)
    for mix in evaluation.mixes:
        assert mix.own is not None
        assert (mix.own.n, mix.own.n_labels, mix.shipped.n, mix.shipped.n_labels) == (4, 4, 20, 12)
        assert {part: result.n for part, result in mix.parts.items()} == {"drawings": 12, "photographs": 8}
        assert len(set(mix.parts["photographs"].captions)) == 2
        assert mix.parts["drawings"].ranks + mix.parts["photographs"].ranks == mix.shipped.ranks
        assert mix.own_among_all is not None
        assert mix.own_among_all.n_labels == 4 + 12
        assert all(a >= b for a, b in zip(mix.own_among_all.ranks, mix.own.ranks, strict=True))


def test_alpha_one_is_the_run_as_evaluate_measures_it(run, old, own, shipped):
    last = evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet).at(1)
    measured = evaluate(evaluated_run(run, "tuned"), own, "validation", quiet).sources[0].all

    assert last.own is not None
    assert {k: last.own.top(k) for k in (1, 5)} == measured.zero_shot
    assert (last.own.text_to_image, last.own.image_to_text) == (
        measured.text_to_image,
        measured.image_to_text,
    )


def test_an_interrupted_judgement_goes_on_where_it_stopped(run, old, own, shipped, tmp_path):
    file = tmp_path / "judged.json"
    whole = evaluate_mixes(Mixes(run, old, own, shipped), [0.5, 1], advance=quiet)
    seen = 0

    def interrupt(n: int) -> None:
        nonlocal seen
        seen += n
        if seen > 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_mixes(Mixes(run, old, own, shipped), [0.5, 1], advance=interrupt, file=file)
    assert [mix.alpha for mix in read_stored(file, Evaluation).mixes] == [0]

    assert evaluate_mixes(Mixes(run, old, own, shipped), [0.5, 1], advance=quiet, file=file) == whole
    assert read_stored(file, Evaluation) == whole


def test_other_weights_or_pictures_are_measured_anew(run, old, own, shipped, tmp_path):
    file = tmp_path / "judged.json"
    first = evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet, file=file)
    other_old = {name: tensor + 0.1 if tensor.is_floating_point() else tensor for name, tensor in old.items()}

    second = evaluate_mixes(Mixes(run, other_old, own, shipped), [1], advance=quiet, file=file)

    assert second.inputs != first.inputs
    assert second == evaluate_mixes(Mixes(run, other_old, own, shipped), [1], advance=quiet)
    assert read_stored(file, Evaluation) == second
