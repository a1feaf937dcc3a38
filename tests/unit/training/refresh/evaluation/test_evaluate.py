"""The old model, the tuned one and their mixes on two sets, stored and resumed."""

import pytest
import torch
from torch import Tensor

from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import EvaluationError
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
        {"emoji": ("validation", "emoji", THINGS[:8]), "icons": ("validation", "icons", THINGS)},
        seed=1,
    )


def quiet(_: int) -> None:
    """Report no progress."""


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_every_mix_is_measured_on_both_sets(run, old, own, shipped):
    embedded: list[int] = []

    evaluation = evaluate_mixes(Mixes(run, old, own, shipped), [0.5, 1], advance=embedded.append)

    assert [mix.alpha for mix in evaluation.mixes] == [0, 0.5, 1]
    assert sum(embedded) == 3 * 24
    assert (evaluation.own, evaluation.shipped, evaluation.n_own_pairs) == ("mine", "proof", 10)
    for mix in evaluation.mixes:
        assert mix.own is not None
        assert (mix.own.n, mix.own.n_labels, mix.shipped.n, mix.shipped.n_labels) == (4, 4, 20, 12)
        assert {kind: part.n for kind, part in mix.kinds.items()} == {"emoji": 8, "icons": 12}
        assert mix.kinds["emoji"].ranks + mix.kinds["icons"].ranks == mix.shipped.ranks


def test_the_run_keeps_its_weights_and_the_old_ones_are_not_changed(run, old, own, shipped):
    tuned = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in old.items()}

    evaluate_mixes(Mixes(run, old, own, shipped), [0.5], advance=quiet)

    assert same(tuned, run.model.state_dict())
    assert same(before, old)


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


def test_a_finished_judgement_is_read_and_not_measured_again(run, old, own, shipped, tmp_path):
    file = tmp_path / "judged.json"
    evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet, file=file)
    text = file.read_text().replace('"text_to_image":{"1":', '"text_to_image":{"7":0.5,"1":')
    file.write_text(text)

    again = evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet, file=file)

    assert again.old.shipped.text_to_image[7] == 0.5
    assert file.read_text() == text


def test_other_weights_or_pictures_are_measured_anew(run, old, own, shipped, tmp_path):
    file = tmp_path / "judged.json"
    first = evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet, file=file)
    other_old = {name: tensor + 0.1 if tensor.is_floating_point() else tensor for name, tensor in old.items()}

    second = evaluate_mixes(Mixes(run, other_old, own, shipped), [1], advance=quiet, file=file)

    assert second.inputs != first.inputs
    assert second == evaluate_mixes(Mixes(run, other_old, own, shipped), [1], advance=quiet)
    assert read_stored(file, Evaluation) == second


def test_without_held_out_pairs_only_the_shipped_set_is_measured(run, old, shipped, tmp_path):
    own = write_pictures(tmp_path / "few", {"learned": ("train", "pairs", ["red star"] * 3)})

    evaluation = evaluate_mixes(Mixes(run, old, own, shipped), [0.5], advance=quiet)

    assert (evaluation.n_own_pairs, evaluation.old.own, evaluation.own_difference(0.5)) == (3, None, None)
    assert evaluation.shipped_difference(0.5).n == 20


def test_fewer_shipped_pictures_judge_by_the_labels_of_all(run, old, own, shipped, tmp_path):
    file, embedded = tmp_path / "judged.json", list[int]()
    few = Mixes(run, old, own, shipped, n_shipped=10)

    evaluation = evaluate_mixes(few, [1], advance=embedded.append, file=file)

    assert sum(embedded) == 2 * few.n_pictures == 2 * 14
    assert (evaluation.old.shipped.n, evaluation.old.shipped.n_labels) == (10, 12)
    assert {kind: part.n for kind, part in evaluation.old.kinds.items()} == {"emoji": 4, "icons": 6}
    assert evaluation.old.own is not None
    assert evaluation.old.own.n == 4
    assert evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet, file=file).old.shipped.n == 20


def test_differences_are_those_between_old_and_mix(run, old, own, shipped):
    evaluation = evaluate_mixes(Mixes(run, old, own, shipped), [1], advance=quiet)

    whole = evaluation.shipped_difference(1)
    kinds = dict(evaluation.kind_differences(1))

    assert (whole.old, whole.new) == (evaluation.old.shipped.top(1), evaluation.at(1).shipped.top(1))
    assert whole.n_gained == sum(one.n_gained for one in kinds.values())
    assert evaluation.loss_points(1) == pytest.approx(100 * (whole.old - whole.new))
    assert evaluation.shipped_difference(0).verdict == "no clear change"


def test_an_empty_shipped_set_is_refused(run, old, own, tmp_path):
    empty = write_pictures(tmp_path / "proof", {"rehearsed": ("train", "icons", THINGS)})

    with pytest.raises(EvaluationError, match="the shipped set has no pictures in split 'validation'"):
        Mixes(run, old, own, empty)


def test_a_damaged_file_is_named(run, old, own, shipped, tmp_path):
    file = tmp_path / "judged.json"
    file.write_text('{"inputs": 3}')

    with pytest.raises(EvaluationError, match=r"judged\.json: inputs: .*; remove the file to measure again"):
        evaluate_mixes(Mixes(run, old, own, shipped), advance=quiet, file=file)
