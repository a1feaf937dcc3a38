"""The built-in prompt sets, and a bundle's own sets, which override them."""

import tomllib
from pathlib import Path

import pytest

from diptych.bundle.prompts import prompt_set, with_built_in
from diptych.errors import InvalidValue

RECIPE = Path(__file__).parents[3] / "training" / "src" / "diptych_training" / "configs" / "pictograms.toml"


def test_photos_are_the_eighty_templates_of_the_paper() -> None:
    photos = prompt_set("photos")
    assert len(set(photos)) == len(photos) == 80
    assert photos[:2] == ("a bad photo of a {}.", "a photo of many {}.")
    assert photos[-1] == "a tattoo of the {}."


@pytest.mark.parametrize("name", ["photos", "pictograms", "label"])
def test_every_template_has_one_place_for_the_label(name: str) -> None:
    assert {template.count("{}") for template in prompt_set(name)} == {1}


def test_pictograms_are_the_sets_of_their_recipe() -> None:
    sets = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["text"]["prompts"]
    assert prompt_set("pictograms") == tuple(template for one in sets.values() for template in one)


def test_unknown_set_names_those_there_are() -> None:
    with pytest.raises(
        InvalidValue, match="no built-in template set 'absent'; there is: label, pictograms, photos"
    ):
        prompt_set("absent")


def test_bundles_own_set_wins_over_the_built_in_one_of_its_name() -> None:
    sets = with_built_in({"default": ["a {}"], "photos": ["my photo of {}"]})
    assert sets["photos"] == ("my photo of {}",)
    assert list(sets) == ["default", "photos", "label", "pictograms"]
    assert sets["label"] == ("{}",)
