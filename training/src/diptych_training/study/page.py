"""The page of a study: sections between marks, which are written anew; the prose around them stays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych_training.errors import EvaluationError
from diptych_training.files import write_text
from diptych_training.reports.markdown import markdown_table
from diptych_training.study.cells import Cell
from diptych_training.study.claims import claims_table
from diptych_training.study.efficiency import FIGURE as EFFICIENCY_FIGURE
from diptych_training.study.efficiency import draw_efficiency, efficiency_section, learners
from diptych_training.study.labels import labels_section, transferred
from diptych_training.study.plan import Part, StudyPlan
from diptych_training.study.prediction import WrittenPrediction
from diptych_training.study.prompts import FIGURE as PROMPTS_FIGURE
from diptych_training.study.prompts import draw_prompts, prompted_models, prompts_section
from diptych_training.study.results import Result
from diptych_training.study.scaling import FIGURE as SCALING_FIGURE
from diptych_training.study.scaling import check_laws, draw_scaling, scaling_section, trained_models

FIGURES = "figures"  # next to the page
TITLES: dict[Part, str] = {
    "efficiency": "efficiency of objectives",
    "labels": "static softmax against language",
    "prompts": "prompts and probes of bundles",
    "scaling": "the series by width",
}


def write_page(
    page: Path,
    plan: StudyPlan,
    cells: Sequence[Cell],
    results: Mapping[str, Result],
    written: WrittenPrediction | None = None,
) -> None:
    """Write sections and figures. `results` are the current ones, by the digest of their cells; laws are
    those of the `written` prediction.

    A page that does not exist yet gets the sections alone. Raises EvaluationError if marks are damaged.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    figures = page.parent / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for name, body in _sections(plan, cells, results, figures, written).items():
        text = filled(text, name, body)
    write_text(page, text)


def filled(text: str, name: str, body: str) -> str:
    """A page with a new body between the marks of a section, which are added at the end if they lack."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in text and end not in text:
        return f"{text}{begin}\n{body}\n{end}\n"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise EvaluationError(f"the page must have {begin} and then {end} once each, or neither")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def _sections(
    plan: StudyPlan,
    cells: Sequence[Cell],
    results: Mapping[str, Result],
    figures: Path,
    written: WrittenPrediction | None,
) -> dict[str, str]:
    def of(*parts: Part) -> list[Result]:
        return [one for one in results.values() if one.part in parts]

    sections = {"budget": _budget(plan, cells, results)}
    learned = [] if plan.efficiency is None else learners(plan.efficiency, of("efficiency"))
    if plan.efficiency is not None and learned:
        draw_efficiency(plan.efficiency, learned, figures / EFFICIENCY_FIGURE)
        sections["efficiency"] = efficiency_section(plan.efficiency, learned)
    series = [] if plan.scaling is None else trained_models(plan.scaling, of("scaling"))
    laws = [] if written is None else check_laws(series, written.prediction.laws)
    if series:
        draw_scaling(series, [one.law for one in laws], figures / SCALING_FIGURE)
        sections["scaling"] = scaling_section(series, laws, written.sha256 if written else None)
    prompted = prompted_models(of("prompts"))
    if prompted:
        draw_prompts(prompted, figures / PROMPTS_FIGURE)
        sections["prompts"] = prompts_section(prompted)
    softmax = [] if plan.labels is None else transferred(plan.labels, of("labels"))
    if softmax:
        sections["labels"] = labels_section(softmax)
    sections["claims"] = claims_table(learned, laws, prompted, softmax)
    nothing = f"Not run yet with `--budget {plan.name}`."
    return {name: sections.get(name, nothing) for name in ("budget", "claims", *TITLES)}


def _budget(plan: StudyPlan, cells: Sequence[Cell], results: Mapping[str, Result]) -> str:
    """Describe which runs of each part were made, and which were not."""
    rows = []
    for part, title in TITLES.items():
        own = [cell for cell in cells if cell.part == part]
        done = [one for one in results.values() if one.part == part]
        images = sorted({one.images for one in done if one.images is not None})
        seeds = sorted({one.seed for one in done if one.seed is not None})
        rows.append([
            title, f"{len(done)} of {len(own)}" if own else "not in this plan",
            f"{images[-1]:,}" if images else "–", ", ".join(map(str, seeds)) or "–",
        ])  # fmt: skip
    header = ["part", "measured", "images of a run, at most", "seeds"]
    return f"Plan: `--budget {plan.name}`.\n\n{markdown_table(header, rows, n_words=2)}"
