"""The page: sections between marks, and what the tables say about given results."""

from pathlib import Path

import pytest

from diptych_training.errors import EvaluationError
from diptych_training.study.claims import NOT_YET, claims_table
from diptych_training.study.efficiency import draw_efficiency, efficiency_section, learners
from diptych_training.study.labels import labels_section, transferred
from diptych_training.study.page import filled
from diptych_training.study.plan import Efficiency, Labels, Scaling
from diptych_training.study.prompts import draw_prompts, prompted_models, prompts_section
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


@pytest.mark.parametrize(
    "page", ["<!-- a -->", "<!-- /a --> <!-- a -->", "<!-- a --> <!-- a --> <!-- /a -->"]
)
def test_damaged_marks_are_refused(page):
    with pytest.raises(EvaluationError, match="the page must have <!-- a --> and then <!-- /a --> once each"):
        filled(page, "a", "new")


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


def test_an_objective_without_its_last_checkpoint_is_left_out_and_one_seed_counts():
    assert [one.name for one in learners(EFFICIENCY, RISING[:5])] == ["virtex"]
    assert learners(EFFICIENCY, RISING[:5])[0].n_seeds == 1
    assert learners(EFFICIENCY, RISING[:2]) == []


def test_the_means_of_seeds_are_compared():
    other = [one.model_copy(update={"seed": 1, "scores": top1(0.5, 0.5, 0.5, 0.5)}) for one in RISING[:3]]
    (found,) = learners(EFFICIENCY, [*RISING[:3], *other])
    assert found.final == pytest.approx((0.125 + 0.5) / 2)


def test_what_is_reached_before_the_first_checkpoint_is_more_than_a_factor():
    fast = [
        result("efficiency", "clip", top1(0.3, 0.3, 0.3, 0.3), n, seed=s)
        for s in (0, 1)
        for n in (100, 200, 400)
    ]
    assert "more than 4.0x" in efficiency_section(EFFICIENCY, learners(EFFICIENCY, [*RISING, *fast]))


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


def test_prompts_and_probes_are_read_off_the_benchmark(tmp_path: Path):
    found = prompted_models([benchmarked("prompts", "mine/1", 0.7, 1.0)], {})
    text = prompts_section(found)
    assert "| mine/1 |       20.0 |         25.0 |     30.0 | +10.0 (+10.0 to +10.0) |    4 of 4 |" in text
    assert "|                2.0 |" in text  # half of the way from 1 to 4 on a logarithmic scale
    draw_prompts(found, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1_000


def test_the_claim_of_prompts_counts_the_models():
    one, other = (
        prompted_models([benchmarked("prompts", name, 0.7, 1.0)], {})[0] for name in ("mine/1", "mine/2")
    )
    assert "+10.0 points (+10.0 to +10.0), mine/1 alone" in claims_table([], None, [one], [])
    assert "+10.0 points, the median of 2 models" in claims_table([], None, [one, other], [])


def test_names_that_the_softmax_lacks_are_told_apart():
    part = part_of(Labels, "softmax", "clip")
    scores = {"known": 0.5, "known_of_all": 0.4, "unknown": 0.0, "n_known": 3, "n_unknown": 1}
    alone = {"unknown": 0.2, "n_known": 0, "n_unknown": 6}  # a set of which it knows no name
    found = transferred(part, [result("labels", "softmax", {"icons-a": scores, "icons-b": alone})])
    assert found[0].means == {"known": 0.5, "known_of_all": 0.4, "unknown": 0.1}
    assert "3 of 10 pictures (30%)" in labels_section(found)
    assert "Linear probes" not in labels_section(found)
    pool = {"name": 0.3, "ensemble": 0.1, "probe": 0.9, "shots_1": 0.3, "shots_2": 0.4}
    (probed,) = transferred(part, [result("labels", "clip", {"icons-a": scores, "icons-pooled": pool})])
    assert "| CLIP  | icons-pooled |      30.0 |      30.0 |      40.0 |" in labels_section([probed])


def test_every_claim_has_a_row_before_anything_was_run():
    assert claims_table([], None, [], []).count(NOT_YET) == 6
    assert NOT_YET not in claims_table(learners(EFFICIENCY, RISING), None, [], []).splitlines()[2]
