"""Find the fewest layers that must leave int8 for the bound to hold; knows nothing of what a layer is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diptych_training.errors import ExportError
from diptych_training.export.int8.layers import Form
from diptych_training.export.int8.report import Say, Try

TARGET = 0.995  # mean cosine; what is published needs 0.99
MAX_TRIES = 16
MAX_PROBES = 64  # beyond this many layers, neighbours are probed together

Plan = dict[str, Form]
Ladders = Mapping[str, Sequence[Form]]  # forms of each layer from the fastest to the most exact


@dataclass(frozen=True)
class Found:
    """The plan that keeps the bound, and how it was reached."""

    plan: Plan
    cosine: float
    tries: tuple[Try, ...]


class Search:
    """Everything as fast as it can be, then the most harmful layers one step towards float.

    `judge` holds a plan against the reference and answers the mean cosine; `probe` does so on a few inputs,
    to rank the layers: it is given plans in which few layers are not float. The number of layers that must
    move is found by doubling and halving. When moving all of them one step is not enough, that is the next
    start.
    """

    def __init__(
        self, ladders: Ladders, judge: Callable[[Plan], float], probe: Callable[[Plan], float], say: Say
    ) -> None:
        self._ladders, self._judge, self._probe, self._say = ladders, judge, probe, say
        self._tries: list[Try] = []

    def run(self) -> Found:
        """Raises ExportError when not even float layers keep the bound."""
        plan: Plan = {name: forms[0] for name, forms in self._ladders.items()}
        cosine = self._try(plan)
        while cosine < TARGET:
            order = self._most_harmful_first(plan)
            if not order:
                raise ExportError(
                    f"no layer is int8 any more and the mean cosine is {cosine:.6f}, the target is {TARGET}: "
                    "the float32 graph itself does not follow the reference"
                )
            plan, cosine = self._fewest_moved(plan, order)
        return Found(plan, cosine, tuple(self._tries))

    def _fewest_moved(self, plan: Plan, order: list[str]) -> tuple[Plan, float]:
        """The plan with the fewest moved that passes, or with all of them moved, and its cosine."""
        low, high = 0, 1  # `low` moved fail; `high` is tried next
        found = self._moved_and_tried(plan, order[:high])
        while found[1] < TARGET and high < len(order):
            low, high = high, len(order) if self._is_last() else min(2 * high, len(order))
            found = self._moved_and_tried(plan, order[:high])
        while found[1] >= TARGET and high - low > 1 and not self._is_last():
            middle = (low + high) // 2
            tried = self._moved_and_tried(plan, order[:middle])
            low, high, found = (low, middle, tried) if tried[1] >= TARGET else (middle, high, found)
        return found

    def _moved_and_tried(self, plan: Plan, names: list[str]) -> tuple[Plan, float]:
        moved = {**plan, **{name: self._next(name, plan[name]) for name in names}}
        return moved, self._try(moved)

    def _try(self, plan: Plan) -> float:
        cosine = self._judge(plan)
        n_quantised = sum(form != "float" for form in plan.values())
        self._tries.append(Try(n_quantised, cosine))
        forms = ", ".join(f"{n} {form}" for form, n in _counted(plan).items())
        self._say(f"int8 try {len(self._tries)}: {forms}: mean cosine {cosine:.6f} (target {TARGET})")
        return cosine

    def _most_harmful_first(self, plan: Plan) -> list[str]:
        """The layers that can still move, by the harm that each does alone in an otherwise float graph."""
        names = [name for name, form in plan.items() if form != "float"]
        size = max(1, -(-len(names) // MAX_PROBES))
        groups = [names[start : start + size] for start in range(0, len(names), size)]
        cosines = []
        for index, group in enumerate(groups, 1):
            alone: Plan = {name: plan[name] if name in group else "float" for name in plan}
            cosines.append(self._probe(alone))
            if index % 16 == 0 or index == len(groups):
                self._say(f"int8: {index} of {len(groups)} layers probed alone")
        ranked = sorted(range(len(groups)), key=lambda at: cosines[at])
        return [name for at in ranked for name in groups[at]]

    def _next(self, name: str, form: Form) -> Form:
        forms = self._ladders[name]
        return forms[min(forms.index(form) + 1, len(forms) - 1)]

    def _is_last(self) -> bool:
        return len(self._tries) >= MAX_TRIES - 1


def _counted(plan: Plan) -> dict[Form, int]:
    forms = list(plan.values())
    return {form: forms.count(form) for form in dict.fromkeys(forms)}
