"""What a model card says of sources that a model does badly on."""

from diptych_training.data.packed import Kind
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.export.model_card.quality import weak_spots


def result(source: str, top1: float, floor: float | None = None, kind: Kind = "icons") -> SourceResult:
    recalls = {1: top1, 5: top1, 10: top1}
    scores = Scores(n_images=9, zero_shot={1: top1, 5: 1.0}, text_to_image=recalls, image_to_text=recalls)
    return SourceResult(source=source, kind=kind, n_classes=9, pixel_floor=floor, all=scores, far=None)


def evaluation(*results: SourceResult) -> Evaluation:
    return Evaluation(
        model="m", runtime="torch", dataset="d", split="eval", templates=("{}",), sources=results
    )


def test_the_lowest_five_icon_sets_and_the_lowest_emoji_style_are_named() -> None:
    sets = [result(f"set-{n}", n / 10) for n in (9, 3, 8, 1, 2, 7, 6, 5, 4, 0)]
    styles = [result("high", 0.4, kind="emoji"), result("low", 0.3, kind="emoji")]

    assert weak_spots(evaluation(*sets, *styles)) == (
        "- Lowest top-1 on `eval`: of 2 emoji styles on `low` (0.300); of 10 icon sets on "
        "`set-0` (0.000), `set-1` (0.100), `set-2` (0.200), `set-3` (0.300), `set-4` (0.400).\n"
    )


def test_a_source_that_is_alone_is_not_called_the_weakest() -> None:
    assert weak_spots(evaluation(result("only", 0.1))) == ""


def test_sources_below_and_near_their_pixel_floors_are_named_with_both_figures_lowest_first() -> None:
    found = weak_spots(
        evaluation(
            result("lines", 0.044, 0.060),
            result("far", 0.9, 0.1),
            result("pixels", 0.181, 0.470),
            result("near", 0.763, 0.721),
            result("unmeasured", 0.2),
        )
    )

    assert found.split("\n")[1:] == [
        "- No better than the nearest training image by pixels on `pixels` (0.181 against 0.470), "
        "`lines` (0.044 against 0.060).",
        "- Less than 5 points (hundredths) better than the nearest training image on `near` "
        "(0.763 against 0.721).",
        "",
    ]
