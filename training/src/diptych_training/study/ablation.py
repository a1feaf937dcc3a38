"""An ablation as a Markdown table that also reads well in a terminal."""

from diptych_training.reports.markdown import markdown_document, markdown_table
from diptych_training.study.outcome import Ablation, Outcome

NONE = "–"


def ablation_tables(ablation: Ablation) -> str:
    """Markdown with the common settings, the table, and warnings about single rows."""
    changes = ", ".join(f"`{change}`" for change in ablation.changes) or "nothing"
    dataset = "" if ablation.dataset is None else f", on `{ablation.dataset}`"
    sections = [
        f"# {ablation.plan}",
        f"The recipe `{ablation.recipe}`, in which all variants change {changes}. Zero-shot on validation at "
        f"the end of each run{dataset}; in brackets the difference to the base, in points (hundredths). "
        f"Small differences may be chance{seed_noise(ablation)}. Images/s are medians of the logged steps; "
        "minutes count training steps only.",
        ablation_table(ablation),
        *recipe_warnings(ablation),
    ]
    return markdown_document(sections)


def ablation_table(ablation: Ablation) -> str:
    """One row per variant, grouped; unfinished variants are marked."""
    metrics = ablation.metrics
    words = ["variant", "group", "what it changes"]
    header = [*words, "images seen", *metrics, "image tower", "images/s", "min"]
    rows = [_row(outcome, ablation.base, metrics) for outcome in _grouped(ablation)]
    return markdown_table(header, rows, n_words=len(words))


def seed_noise(ablation: Ablation) -> str:
    """The largest difference to the base of runs that differ from it in their seed only, as a phrase; empty
    if none.
    """
    differences = [
        abs(value - ablation.base.validation[metric])
        for outcome in ablation.outcomes
        if outcome.changes and all(change.startswith("seed=") for change in outcome.changes)
        for metric, value in outcome.validation.items()
        if metric in ablation.base.validation
    ]
    return f" (another seed alone changes up to {100 * max(differences):.1f} points)" if differences else ""


def recipe_warnings(ablation: Ablation) -> list[str]:
    """A line for each run whose recipe differs from the plan's current one."""
    return [
        f"`{outcome.run}` ran with another recipe than the plan has now: {outcome.differs}."
        for outcome in ablation.outcomes
        if outcome.differs is not None
    ]


def _grouped(ablation: Ablation) -> list[Outcome]:
    """Sort by group, in the order in which the groups first occur."""
    groups = dict.fromkeys(outcome.group for outcome in ablation.outcomes)
    return [outcome for group in groups for outcome in ablation.outcomes if outcome.group == group]


def _row(outcome: Outcome, base: Outcome, metrics: list[str]) -> list[str]:
    cells = [f"`{outcome.name}`", outcome.group, outcome.says]
    if outcome.state != "finished":
        return [*cells, _unfinished(outcome), *[NONE] * (len(metrics) + 3)]
    return [
        *cells,
        f"{outcome.n_samples:,}",
        *(_figure(outcome, base, metric) for metric in metrics),
        NONE if outcome.n_image_parameters is None else f"{outcome.n_image_parameters / 1e6:.2f} M",
        NONE if outcome.images_per_s is None else f"{outcome.images_per_s:,.0f}",
        NONE if outcome.minutes is None else f"{outcome.minutes:.1f}",
    ]


def _unfinished(outcome: Outcome) -> str:
    if outcome.state == "not begun":
        return "not begun"
    return f"not finished: step {outcome.step:,} of {outcome.n_steps:,}"


def _figure(outcome: Outcome, base: Outcome, metric: str) -> str:
    value, against = outcome.validation.get(metric), base.validation.get(metric)
    if value is None:
        return NONE
    if against is None or outcome is base:
        return f"{value:.3f}"
    return f"{value:.3f} ({100 * (value - against):+.1f})"
