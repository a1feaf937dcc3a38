from dataclasses import asdict

import pytest

from benchmarks.serving import servers
from benchmarks.serving.servers import Running, way_of
from diptych.core.plan import Plan
from diptych.http.answers_operate import ChoiceAnswer

SERVER = Running("diptych auto exact", 1, 1, None, 0.0)  # type: ignore[arg-type]


def _told(monkeypatch: pytest.MonkeyPatch, plan: Plan | None) -> dict[str, str]:
    """What `/models` says of a repository whose second model is served."""
    fields = {"precision": "int8", "reason": "fastest", "plan": plan and asdict(plan), "candidates": []}
    embed = ChoiceAnswer.model_validate(fields).model_dump()
    answer = {"models": [{"serving": None}, {"serving": {"embed": embed}}]}
    monkeypatch.setattr(servers, "get", lambda *_: answer)
    return way_of(SERVER)


def test_the_plan_that_a_server_runs_by_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(n_lanes=2, image_batch_size=8, text_batch_size=16, n_decode_threads=1)
    told = {"precision": "int8", "plan": "2 lanes, 8 images, 16 texts, decode 1"}
    assert _told(monkeypatch, plan) == told
    assert _told(monkeypatch, None)["plan"] == "none"
