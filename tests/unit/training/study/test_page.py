"""The page: sections between marks, and what the tables say about given results."""

import math
from pathlib import Path

import pytest

from diptych_training.study.efficiency import draw_efficiency, efficiency_section, learners
from diptych_training.study.fits import factor, power_law, to_reach
from diptych_training.study.page import filled
from diptych_training.study.plan import Efficiency, Scaling
from diptych_training.study.results import Result, Scores
from diptych_training.study.scaling import draw_scaling, scaling_law, scaling_section, trained_models

SETS = ("icons-a", "icons-b", "icons-c", "emoji-a")


def result(part: str, variant: str, scores: Scores, images: int = 800, **changes: object) -> Result:
    given = {"cell": f"{variant}-{images}", "seed": 0, "images": images, "flops": 1e6 * images}
    fixed = {"part": part, "variant": variant, "digest": variant, "recipe": "r", "data": "d"}
    return Result.model_validate({**fixed, "measured_s": 1, "scores": scores, **given, **changes})


def top1(*values: float) -> Scores:
    return {name: {"top1": value} for name, value in zip(SETS, values, strict=True)}


def part_of(kind: type, *names: str, **more: object):
    variants = [{"name": name, "title": name.upper()} for name in names]
    return kind.model_validate({"recipe": "tiny", "variants": variants, **more})


EFFICIENCY = part_of(
    Efficiency, "virtex", "bag-of-words", "clip", checkpoints=[1, 2, 4], names=10, pictures=5, seeds=[0, 1]
)
# At 100, 200 and 400 images: what doubles with the images, the same with twice and with eight times fewer.
RISING = [
    result("efficiency", name, top1(*[share * images / 1600] * 4), images, seed=seed)
    for name, share in (("virtex", 0.5), ("bag-of-words", 1.0))
    for seed in (0, 1)
    for images in (100, 200, 400)
]


def test_sections_are_written_between_their_marks_and_prose_stays():
    page = "# Title\n<!-- a -->\nold\n<!-- /a -->\nprose\n"
    assert filled(page, "a", "new") == "# Title\n<!-- a -->\nnew\n<!-- /a -->\nprose\n"
    assert filled(page, "b", "more") == page + "<!-- b -->\nmore\n<!-- /b -->\n"
    assert filled(filled(page, "a", "new"), "a", "old") == page


def test_efficiency_says_how_many_times_fewer_images_an_objective_needs(tmp_path: Path):
    found = learners(EFFICIENCY, RISING)
    assert [(one.name, one.n_seeds, one.images) for one in found] == [
        ("virtex", 2, (100, 200, 400)), ("bag-of-words", 2, (100, 200, 400))
    ]  # fmt: skip
    text = efficiency_section(EFFICIENCY, found)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    by_title = {row[1]: row[2:] for row in rows}
    assert by_title["BAG-OF-WORDS"][:6] == ["6.2", "12.5", "25.0", "25.0 to 25.0", "2.0x (2.0x to 2.0x)", "1"]
    assert by_title["VIRTEX"][5] == "never"
    draw_efficiency(EFFICIENCY, found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def benchmarked(part: str, variant: str, error: float, flops: float) -> Result:
    zero_shot = {"name": 0.9 - error, "one_template": 0.95 - error, "ensemble": 1 - error}
    scores = {name: {**zero_shot, "single": 1.0, "n": 9} for name in SETS}
    pool = {**zero_shot, "single": 0.0, "n": 9, "probe": 0.9, "shots_1": 0.1, "shots_4": 0.5}
    return result(part, variant, {**scores, "pooled": pool}, flops=flops)


def test_the_law_of_the_smaller_models_predicts_the_largest(tmp_path: Path):
    part = part_of(Scaling, "a", "b", "c", "d")
    flops = {"a": 1e9, "b": 1e10, "c": 1e11, "d": 1e12}
    results = [benchmarked("scaling", name, 0.8 * (x / 1e9) ** -0.1, x) for name, x in flops.items()]
    models = trained_models(part, results[::-1])
    assert [one.title for one in models] == ["A", "B", "C", "D"]
    assert len(models[0].error) == 4  # the pool shows the same pictures again
    law = scaling_law(models, 1)
    assert law is not None
    text = scaling_section(models, law)
    assert "Fitted on the 3 smaller models" in text
    assert "to the power -0.100 (95%: -0.100 to -0.100), R² 1.000" in text
    assert "For D it predicts 40.1% (40.1 to 40.1); found: 40.1%." in text
    draw_scaling(models, law, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1_000
    assert scaling_law(models[:3], 1) is None


CURVE = [(100, 0.1), (400, 0.3), (1600, 0.2), (6400, 0.5)]


@pytest.mark.parametrize(
    ("level", "images"),
    [
        (0.1, 100),
        (0.05, 100),  # there before the first point
        (0.2, 200),  # half of the way in accuracy is half of the way in logarithms
        (0.3, 400),
        (0.35, 1600 * 2),  # beyond a dip, from the point before it
        (0.6, math.inf),
    ],
)
def test_a_level_is_reached_between_two_points_on_a_logarithmic_scale(level, images):
    assert to_reach(CURVE, level) == pytest.approx(images)


def test_a_factor_is_of_the_accuracy_that_the_slower_one_ends_at():
    slow = [(100, 0.0), (1600, 0.2)]
    assert factor(slow, CURVE) == pytest.approx(8)
    assert factor(CURVE, slow) == 0


def test_a_power_law_is_found_again():
    x = [1e3, 1e4, 1e5]
    law = power_law(x, [2 * one**-0.25 for one in x])
    assert law.exponent == pytest.approx(-0.25)
    assert law.r2 == pytest.approx(1)
    assert law(1e6) == pytest.approx(2 * 1e6**-0.25)
