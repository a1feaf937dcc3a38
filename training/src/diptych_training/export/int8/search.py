"""Find the fewest layers that must leave int8 to reach the target cosine, and report on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diptych_training.errors import ExportError
from diptych_training.export.int8.layers import Form
from diptych_training.progress import Reporter


@dataclass(frozen=True)
class Trial:
    """One candidate graph: its number of int8 layers, and its cosine to the reference (see `make_check`)."""

    n_quantised: int
    cosine: float


@dataclass(frozen=True)
class Int8Report:
    """How an int8 graph was made.

    - `n_quantised`: number of int8 layers; scales are calibrated, except those in `kept_rows`, and those of
      products of probabilities, of which only the weights are int8.
    - `kept_rows`: nodes with a scale for each row, computed at run time.
    - `kept_float`: nodes that stay in float32.
    - `weight_steps`: steps of the weights on either side of 0, which depend on the exporting processor.
    - `cosine`: that of the last candidate.
    - `tries`: all candidates in order.
    """

    n_quantised: int
    kept_rows: tuple[str, ...]
    kept_float: tuple[str, ...]
    weight_steps: int
    cosine: float
    tries: tuple[Trial, ...]


TARGET = 0.995  # publishing needs 0.99
MAX_TRIES = 16
MAX_PROBES = 64  # with more layers than this, neighbours are probed together

LayerForms = dict[str, Form]
FormsByLayer = Mapping[str, Sequence[Form]]  # forms of each layer from the fastest to the most exact


@dataclass(frozen=True)
class SearchResult:
    """The plan that reaches the target, with the trials that led to it."""

    plan: LayerForms
    cosine: float
    tries: tuple[Trial, ...]


class Search:
    """Starts with every layer's fastest form, then moves the most sensitive layers one form towards float.

    `measure` returns the cosine of a plan to the reference. `probe` does so on a few inputs, to rank
    layers by sensitivity: its plans have few layers that are not float. The number of layers to move is found
    by doubling and bisection. If moving all of them is not enough, the search continues from there.
    """

    def __init__(
        self,
        forms_by_layer: FormsByLayer,
        measure: Callable[[LayerForms], float],
        probe: Callable[[LayerForms], float],
        report: Reporter,
    ) -> None:
        self._ladders, self._measure, self._probe, self._report = forms_by_layer, measure, probe, report
        self._tries: list[Trial] = []

    def run(self) -> SearchResult:
        """Search. Raises ExportError if even an all-float plan misses the target."""
        plan: LayerForms = {name: forms[0] for name, forms in self._ladders.items()}
        cosine = self._try(plan)
        while cosine < TARGET:
            order = self._by_sensitivity(plan)
            if not order:
                raise ExportError(
                    f"all layers are float and the cosine is {cosine:.6f}, the target is {TARGET}: "
                    "the float32 graph itself does not match the reference"
                )
            plan, cosine = self._fewest_changes(plan, order)
        return SearchResult(plan, cosine, tuple(self._tries))

    def _fewest_changes(self, plan: LayerForms, order: list[str]) -> tuple[LayerForms, float]:
        """The plan with the fewest moved layers that passes, or with all of them moved, and its cosine."""
        low, high = 0, 1  # moving `low` layers fails; `high` is tried next
        found = self._change_and_try(plan, order[:high])
        while found[1] < TARGET and high < len(order):
            low, high = high, len(order) if self._is_last_trial() else min(2 * high, len(order))
            found = self._change_and_try(plan, order[:high])
        while found[1] >= TARGET and high - low > 1 and not self._is_last_trial():
            middle = (low + high) // 2
            tried = self._change_and_try(plan, order[:middle])
            low, high, found = (low, middle, tried) if tried[1] >= TARGET else (middle, high, found)
        return found

    def _change_and_try(self, plan: LayerForms, names: list[str]) -> tuple[LayerForms, float]:
        moved = {**plan, **{name: self._next(name, plan[name]) for name in names}}
        return moved, self._try(moved)

    def _try(self, plan: LayerForms) -> float:
        cosine = self._measure(plan)
        n_quantised = sum(form != "float" for form in plan.values())
        self._tries.append(Trial(n_quantised, cosine))
        forms = ", ".join(f"{n} {form}" for form, n in _count_forms(plan).items())
        self._report(f"int8 try {len(self._tries)}: {forms}: cosine {cosine:.6f} (target {TARGET})")
        return cosine

    def _by_sensitivity(self, plan: LayerForms) -> list[str]:
        """Layers that can still move, most sensitive first: each is probed alone, all others float."""
        names = [name for name, form in plan.items() if form != "float"]
        size = max(1, -(-len(names) // MAX_PROBES))
        groups = [names[start : start + size] for start in range(0, len(names), size)]
        cosines = []
        for index, group in enumerate(groups, 1):
            alone: LayerForms = {name: plan[name] if name in group else "float" for name in plan}
            cosines.append(self._probe(alone))
            if index % 16 == 0 or index == len(groups):
                self._report(f"int8: {index} of {len(groups)} layers probed alone")
        ranked = sorted(range(len(groups)), key=lambda at: cosines[at])
        return [name for at in ranked for name in groups[at]]

    def _next(self, name: str, form: Form) -> Form:
        forms = self._ladders[name]
        return forms[min(forms.index(form) + 1, len(forms) - 1)]

    def _is_last_trial(self) -> bool:
        return len(self._tries) >= MAX_TRIES - 1


def _count_forms(plan: LayerForms) -> dict[Form, int]:
    forms = list(plan.values())
    return {form: forms.count(form) for form in dict.fromkeys(forms)}
