"""The search for layers that must leave int8, on a made-up model of harm."""

import pytest

from diptych_training.errors import ExportError
from diptych_training.export.int8.layers import Form
from diptych_training.export.int8.search import MAX_TRIES, TARGET, LayerForms, Search

LADDER: tuple[Form, ...] = ("static", "rows", "float")


class Model:
    """Each layer costs its own cosine while it is static, a share of that in rows, and nothing in float."""

    def __init__(self, harm: dict[str, float], rows_share: float = 0.1, floor: float = 0.0) -> None:
        self.harm, self.rows_share, self.floor = harm, rows_share, floor
        self.lines: list[str] = []

    def cosine(self, plan: LayerForms) -> float:
        share = {"static": 1.0, "rows": self.rows_share, "float": 0.0}
        return 1 - self.floor - sum(self.harm[name] * share[form] for name, form in plan.items())

    def search(self) -> Search:
        forms_by_layer = dict.fromkeys(self.harm, LADDER)
        return Search(forms_by_layer, self.cosine, self.cosine, self.lines.append)


def test_harmless_layers_all_stay_static_after_one_try() -> None:
    found = Model({f"layer{i}": 1e-5 for i in range(50)}).search().run()
    assert set(found.plan.values()) == {"static"}
    assert len(found.tries) == 1


def test_only_the_layers_that_break_the_bound_move() -> None:
    harm = {f"layer{i}": 1e-5 for i in range(50)} | {"layer7": 0.2, "layer31": 0.1}
    model = Model(harm, rows_share=0.001)
    found = model.search().run()
    assert {name for name, form in found.plan.items() if form != "static"} == {"layer7", "layer31"}
    assert found.plan["layer7"] == "rows"
    assert found.cosine >= TARGET
    assert any("cosine" in line for line in model.lines)


def test_what_rows_do_not_mend_goes_to_float() -> None:
    found = Model({"a": 1e-5, "b": 0.5, "c": 1e-5}, rows_share=0.9).search().run()
    assert found.plan["b"] == "float"
    assert found.cosine >= TARGET


def test_the_number_of_tries_is_bounded() -> None:
    found = Model({f"layer{i}": 0.01 for i in range(1000)}, rows_share=0.9).search().run()
    assert found.cosine >= TARGET
    assert len(found.tries) <= MAX_TRIES + 4


def test_the_plan_that_is_found_was_tried_and_passed() -> None:
    found = Model({f"layer{i}": 0.0004 * i for i in range(20)}, rows_share=0.01).search().run()
    assert found.cosine >= TARGET
    assert any(one.cosine == found.cosine for one in found.tries)


def test_a_float_graph_that_does_not_follow_the_reference_is_an_error() -> None:
    with pytest.raises(ExportError, match="float32 graph itself"):
        Model({"a": 0.1}, floor=0.2).search().run()
