"""A person's held-out pictures, judged among the labels of a label set."""

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import PackedItem
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.refresh.evaluation.candidates import Candidates, label_rows
from diptych_training.refresh.evaluation.picture_set import among_candidates, embed_set, open_sets, score_set
from support.picture_sets import write_pictures
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_run import tiny_text_spec

KIND = Candidates(
    labels=(("red", "scarlet"), ("blue",), ("green",)),
    templates="drawing",
    right={"0.png": ("red", "green"), "1.png": ("blue",)},
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    repository = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(repository)
    return load_evaluated_bundle(ModelRepository(repository), TINY, 1, n_threads=1)


def test_a_label_with_words_has_their_mean_in_all_templates(model):
    templates = ("a drawing of {}", "{} icon")

    red, blue = label_rows(model, (("red", "scarlet"), ("blue",)), templates)

    words = class_embeddings(model.encoder, model.tokenizer, ["red", "scarlet", "blue"], templates)
    mean = words[0] + words[1]
    np.testing.assert_allclose(red, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(blue, words[2], atol=1e-6)


def test_a_picture_with_several_labels_is_right_with_each_of_them():
    item = PackedItem(id="pets-kind:0.png", label="red")

    assert KIND.of(item) == {"red", "green"}


def test_pictures_are_judged_among_all_labels_of_the_set_not_among_their_captions(tmp_path, model):
    pictures, _ = open_sets(
        [write_pictures(tmp_path / name, {"held": ("validation", "pairs", ["red"])}) for name in ("a", "b")],
        model.tokenizer,
    )
    candidates = KIND.model_copy(update={"right": {"held-0": ("red",)}})

    judged = among_candidates(pictures, candidates, tiny_text_spec())

    assert judged.labels == ("red", "blue", "green")
    assert judged.templates == ("a drawing of {}", "{} icon")
    assert score_set(embed_set(model, judged, advance=lambda _: None)).n_labels == 3


def test_a_name_of_templates_that_the_model_lacks_is_an_error_with_those_that_it_has():
    photo = KIND.model_copy(update={"templates": "photo"})

    with pytest.raises(EvaluationError, match=r"'photo'.* it has: default, drawing\. --from"):
        photo.templates_of(tiny_text_spec())
