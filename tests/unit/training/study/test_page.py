"""The page: sections between marks, and what the tables say about given results."""

import math
from pathlib import Path

import numpy as np
import pytest

from diptych_training.study.claims import claims_table
from diptych_training.study.efficiency import draw_efficiency, efficiency_section, factor_of, learners
from diptych_training.study.fits import factor, of_shares, power_law, to_reach
from diptych_training.study.labels import Transferred, labels_section, transferred
from diptych_training.study.page import filled
from diptych_training.study.plan import Efficiency, Labels, Scaling
from diptych_training.study.prompts import prompted_models, prompts_section
from diptych_training.study.results import Result, Scores
from diptych_training.study.scaling import (
    Law,
    check_laws,
    draw_scaling,
    scaling_law,
    scaling_section,
    trained_models,
)

KINDS = {"icons-a": "icons", "icons-b": "icons", "icons-c": "icons", "emoji-a": "emoji"}
MANY = 10**12  # pictures: nothing changes when they are drawn again


def result(part: str, variant: str, scores: Scores, images: int = 800, **changes: object) -> Result:
    given = {"cell": f"{variant}-{images}", "seed": 0, "images": images, "flops": 1e6 * images}
    fixed = {"part": part, "variant": variant, "digest": variant, "recipe": "r", "data": "d"}
    more = {"measured_s": 1, "kinds": KINDS, "scores": scores, "tower": "resnet", "objective": f"{variant}/1"}
    return Result.model_validate({**fixed, **more, **given, **changes})


def part_of(kind: type, *names: str, **more: object):
    variants = [{"name": name, "title": name.upper()} for name in names]
    return kind.model_validate({"recipe": "tiny", "variants": variants, **more})


EFFICIENCY = part_of(
    Efficiency, "virtex", "bag-of-words", "clip", horizons=[1, 2, 4], names=10, pictures=5, seeds=[0, 1]
)


def sampled(top1: float) -> Scores:
    pool = {"icons-pooled": {"probe": 0.75, "n": 9}}
    return {name: {"top1": top1, "top1_raw": top1 / 2, "n": MANY} for name in KINDS} | pool


# At 100, 200 and 400 images: what doubles with the images, and the same with fewer images.
RISING = [
    result("efficiency", name, sampled(share * images / 1600), images, seed=seed)
    for name, share in (("virtex", 0.5), ("bag-of-words", 1.0), ("clip", 3.9))
    for seed in (0, 1)
    for images in (100, 200, 400)
]


def test_sections_are_written_between_their_marks_and_prose_stays():
    page = "# Title\n<!-- a -->\nold\n<!-- /a -->\nprose\n"
    assert filled(page, "a", "new") == "# Title\n<!-- a -->\nnew\n<!-- /a -->\nprose\n"
    assert filled(page, "b", "more") == page + "<!-- b -->\nmore\n<!-- /b -->\n"
    assert filled(filled(page, "a", "new"), "a", "old") == page


def tables_of(text: str) -> list[dict[str, list[str]]]:
    """The cells of each table's rows, by the first one."""
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("| ")]
    cells = [[[cell.strip() for cell in line.split("|")][1:-1] for line in lines] for lines in tables]
    return [{row[0]: row[1:] for row in rows} for rows in cells]


def test_efficiency_says_how_many_times_fewer_images_an_objective_needs(tmp_path: Path):
    found = learners(EFFICIENCY, RISING[:12])
    assert [(one.name, one.n_seeds, one.images) for one in found] == [
        ("virtex", 2, (100, 200, 400)), ("bag-of-words", 2, (100, 200, 400))
    ]  # fmt: skip
    text = efficiency_section(EFFICIENCY, found)
    by_title, _ = tables_of(text)
    assert by_title["BAG-OF-WORDS"] == ["6.2", "12.5", "25.0", "25.0 to 25.0", "2.0x (2.0x to 2.0x)", "1"]
    assert by_title["VIRTEX"][5] == "never"
    draw_efficiency(EFFICIENCY, found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_efficiency_reports_both_rules_a_probe_and_the_version_of_the_objective():
    text = efficiency_section(EFFICIENCY, learners(EFFICIENCY, RISING[:12]))
    _, rules = tables_of(text)
    assert rules["VIRTEX"] == ["12.5", "6.2", "75.0", "2", "virtex/1", "1.0"]


def test_a_factor_that_may_be_larger_is_printed_as_at_least():
    """The first horizon of the one is above the last of the other."""
    slow, _, fast = learners(EFFICIENCY, RISING)
    assert str(factor_of(slow, fast)) == ">= 4.0x (from 4.0x)"


@pytest.mark.parametrize(
    ("kinds", "n", "low", "high"),
    [
        (("emoji", "icons", "icons", "icons"), MANY, 0.25, 0.25),  # one of each four is of the other kind
        (("icons", "icons", "icons", "icons"), MANY, 0.0, 0.75),
    ],
)
def test_data_sets_are_drawn_again_by_kind(kinds, n, low, high):
    interval = of_shares(np.array([[1.0, 0, 0, 0]]), np.full(4, n), kinds).interval()
    assert (interval.low, interval.high) == (low, high)


def test_pictures_and_seeds_are_drawn_again():
    few, many = (of_shares(np.full((1, 4), 0.5), np.full(4, n), ["icons"] * 4).interval() for n in (25, MANY))
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(4 * 25), rel=0.1)
    assert many.high - many.low < 1e-4
    seeds = of_shares(np.array([[0.4] * 4, [0.6] * 4]), np.full(4, MANY), ["icons"] * 4).interval()
    assert (seeds.low, seeds.high) == pytest.approx((0.4, 0.6), abs=1e-4)


SCALING = part_of(Scaling, "a", "b", "c", "d", "e")
FLOPS = {name: 10.0**exponent for name, exponent in zip("abcde", range(9, 14), strict=True)}


def named(variant: str, error: float, **changes: object) -> Result:
    """A model of the series with this error everywhere."""
    figures = {"error": error / 2, "error_of_all": error, "nll_of_all": 5 * error, "nll_of_all_sd": 0.0}
    scores = {name: {**figures, "n": MANY, "n_of_all": MANY} for name in KINDS}
    return result("scaling", variant, scores, flops=FLOPS[variant], text_length=17, **changes)


def on_the_line(variant: str) -> float:
    return 0.8 * (FLOPS[variant] / 1e9) ** -0.1


def law_of(*results: Result, figure: str = "error_of_all", title: str = "E", flops: float = 1e13) -> Law:
    """The law of these models, with its prediction for one of ten times the compute of D."""
    law = scaling_law(trained_models(SCALING, results), figure, [(title, flops)])
    assert law is not None
    return law


EXACT = [named(name, on_the_line(name)) for name in "abcd"]


def test_the_law_of_the_smaller_models_predicts_the_largest(tmp_path: Path):
    models = trained_models(SCALING, [named("e", 0.4), *reversed(EXACT)])
    assert [one.title for one in models] == ["A", "B", "C", "D", "E"]
    laws = [law_of(*EXACT, figure=figure) for figure in ("error_of_all", "nll_of_all")]
    text = scaling_section(models, check_laws(models, laws), None)
    assert "**resnet, error among all names**, fitted on the 4 smaller models" in text
    assert "to the power -0.100 (-0.100 to -0.100), R² 1.000" in text
    assert "forward and backward, with captions of 17 tokens" in text
    _, found = tables_of(text)
    errors, nats = ["31.8% (31.8 to 31.8)", "40.0%"], ["1.592 (1.592 to 1.592)", "2.000"]
    assert found["error among all names"] == ["E", *errors, "+8.2 (+8.2 to +8.2)"]
    assert found["cross-entropy among all names"] == ["E", *nats, "+0.408 (+0.408 to +0.408)"]
    draw_scaling(models, laws, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1_000
    assert scaling_law(models[:2], "error_of_all", []) is None


def test_a_law_is_checked_as_it_was_written_down():
    """The file counts, not what the same results would predict today."""
    models = trained_models(SCALING, [*EXACT, named("e", 0.4)])
    law = law_of(*EXACT)
    law = law.model_copy(update={"predicted": (law.predicted[0].model_copy(update={"value": 0.5}),)})
    (checked,) = check_laws(models, [law])
    assert checked.found[0].difference == pytest.approx(-0.1)


def test_what_data_sets_share_is_not_in_the_interval_of_a_difference():
    """The sets are of very different errors, which move all models alike."""

    def uneven(name: str, error: float) -> Result:
        one = named(name, error)
        shares = dict(zip(KINDS, (0.8, 0.8, 1.2, 1.2), strict=True))
        scores = {
            key: {figure: value * (shares[key] if "error" in figure else 1) for figure, value in own.items()}
            for key, own in one.scores.items()
        }
        return one.model_copy(update={"scores": scores})

    fitted = [uneven(name, on_the_line(name)) for name in "abcd"]
    law = law_of(*fitted)
    (checked,) = check_laws(trained_models(SCALING, [*fitted, uneven("e", 1.1 * on_the_line("e"))]), [law])
    (found,) = checked.found
    assert law.predicted[0].high - law.predicted[0].low > 0.05
    assert found.predicted.value + found.difference < law.predicted[0].high
    assert found.difference == pytest.approx(0.0318, abs=1e-3)
    assert found.above.low > 0.01


def test_laws_without_their_smaller_models_find_nothing():
    models = trained_models(SCALING, [EXACT[0], named("e", 0.4)])
    assert check_laws(models, [law_of(*EXACT)])[0].found == ()


def test_the_interval_of_a_law_holds_what_the_law_does_not_explain():
    off = {"a": 1.05, "b": 0.95, "c": 0.95, "d": 1.05}  # the same on every data set
    (figure,) = law_of(*(named(name, factor * on_the_line(name)) for name, factor in off.items())).predicted
    residual = 0.05 * math.sqrt(4 / 2)  # two degrees of freedom
    width = 4.303 * residual * math.sqrt(1 + 1 / 4 + 2.5**2 / 5)  # of Student's t
    assert math.log(figure.high / figure.low) == pytest.approx(2 * width, rel=0.2)


def test_the_interval_of_a_law_holds_the_scatter_of_seeds():
    """The means over seeds are on the line."""
    both = [named("a", on_the_line("a") * factor, seed=seed) for seed, factor in enumerate((0.9, 1.1))]
    assert law_of(*EXACT).predicted[0].high < 0.35
    assert law_of(*both, *EXACT[1:]).predicted[0].high > 0.5


def test_a_law_is_checked_by_models_of_its_own_kind_of_image_tower():
    part = part_of(Scaling, *"abcde", "v", predicted=2)
    vit = named("e", 0.9, tower="vit").model_copy(update={"variant": "v"})
    models = trained_models(part, [*EXACT, named("e", 0.4), vit])
    (checked,) = check_laws(models, [law_of(*EXACT)])
    assert [one.predicted.model for one in checked.found] == ["E"]


def test_a_model_that_was_measured_by_another_prediction_is_named():
    results = [named(name, on_the_line(name), prediction="0" if name == "e" else None) for name in "abcde"]
    models = trained_models(SCALING, results)
    assert "prediction than the one that is stored: E." in scaling_section(models, [], "1")
    assert "prediction than" not in scaling_section(models, [], "0")


def test_the_gain_of_prompts_has_an_interval_over_data_sets_and_pictures():
    zero_shot = {"name": 0.4, "one_template": 0.45, "ensemble": 0.5, "n": MANY}
    pool = {**zero_shot, "probe": 0.9, "shots_1": 0.1, "shots_4": 0.6}
    scores = {**dict.fromkeys(KINDS, zero_shot), "icons-pooled": pool}
    prompts, probes = tables_of(prompts_section(prompted_models([result("prompts", "everyday/2", scores)])))
    assert prompts["everyday/2"] == ["40.0", "45.0", "50.0", "+10.0 (+10.0 to +10.0)", "4 of 4"]
    assert probes["everyday/2"] == ["icons-pooled", str(MANY), "50.0", "10.0", "60.0", "90.0", "3.0"]


def test_a_softmax_that_learned_longer_is_shown_with_its_validation_by_both_rules():
    part = part_of(Labels, "short", "long", "clip")
    of_words = {"known": 0.2, "known_of_all": 0.1, "unknown": 0.0, "unseen": 0.0}
    pictures = {"n_known": 3, "n_unknown": 1, "n_unseen": 1}
    raw = {f"{figure}_raw": 0.05 for figure in of_words}

    def measured(name: str, images: int, validated: dict[str, float], **more: float) -> Result:
        scores = {"icons-a": {**of_words, **pictures, **more}, "held": {**validated, "n": 3}}
        return result("labels", name, scores, images)

    results = [
        measured("short", 100, {"validated": 0.3, "validated_raw": 0.2}, **raw),
        measured("long", 200, {"validated": 0.4, "validated_raw": 0.5}, **raw),
        measured("clip", 100, {"validated": 0.2}),
    ]
    text = labels_section(transferred(part, results))
    (table,) = tables_of(text)
    assert table["SHORT"] == ["100", "0.0001", "30.0", "20.0", "10.0", "0.0", "0.0", "1"]
    assert table["LONG, raw log-probability"] == ["200", "0.0002", "50.0", "5.0", "5.0", "5.0", "5.0", "1"]
    assert "CLIP, raw log-probability" not in table
    assert "a label for 3 of 4 pictures (75%). Of the 1 others, 1 have a name" in text


def prompted(ensemble: float, one_example: float) -> list[Result]:
    zero_shot = {"name": 0.4, "one_template": 0.4, "ensemble": ensemble, "n": MANY}
    pool = {**zero_shot, "probe": 0.9, "shots_1": one_example, "shots_4": 0.9}
    return [result("prompts", "everyday/2", {**dict.fromkeys(KINDS, zero_shot), "icons-pooled": pool})]


def softmax(unknown: float) -> list[Transferred]:
    pictures = {"n_known": 3, "n_unknown": 1, "n_unseen": 1}
    words = {"known": 0.2, "unknown": 0.1, "unseen": 0.1, **pictures}
    labels = {**words, "known_raw": 0.3, "unknown": unknown}
    results = [result("labels", name, {"a": own}) for name, own in (("clip", words), ("soft", labels))]
    return transferred(part_of(Labels, "clip", "soft"), results)


@pytest.mark.parametrize(
    ("error", "ensemble", "one_example", "unknown", "agrees"),
    [
        (on_the_line("e"), 0.5, 0.1, 0.0, ["yes", "yes", "yes", "yes", "yes", "yes"]),
        (0.4, 0.3, 0.6, 0.2, ["yes", "yes", "in part", "no", "no", "no"]),
    ],
)
def test_each_claim_says_whether_it_agrees(error, ensemble, one_example, unknown, agrees):
    laws = check_laws(trained_models(SCALING, [*EXACT, named("e", error)]), [law_of(*EXACT)])
    found = prompted_models(prompted(ensemble, one_example))
    (table,) = tables_of(claims_table(learners(EFFICIENCY, RISING), laws, found, softmax(unknown)))
    _, *rows = table.values()
    assert [row[2] for row in rows[1:]] == agrees


def test_claims_that_were_not_checked_have_no_verdict():
    (table,) = tables_of(claims_table([], [], [], []))
    assert {tuple(row[1:3]) for row in list(table.values())[2:]} == {("not run yet", "–")}


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
