from typing import Any

import pytest

from benchmarks.serving import profile
from benchmarks.serving.servers import Running


def test_a_profile_is_what_one_load_adds_for_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = dict.fromkeys(profile.STAGES, 1.0)
    readings = [
        profile._Reading(stages, n_pictures=100, n_batches=50, loop_s=2.0, all_s=5.0),
        profile._Reading(stages | {"decode": 1.4}, n_pictures=300, n_batches=75, loop_s=2.2, all_s=6.0),
    ]
    monkeypatch.setattr(profile, "_read", lambda _: readings.pop(0))
    server: Any = Running("ours", 1, 1, None, 0.0)  # type: ignore[arg-type]
    found = profile.profiled(server, lambda: {"per_s": 7.0})
    assert found["per_s"] == 7.0
    assert found["batch"] == 8.0
    assert found["loop_ms"] == pytest.approx(1.0)  # 0.2 s by 200 pictures
    assert found["threads_ms"] == pytest.approx(4.0)
    assert found["stage_ms"]["decode"] == pytest.approx(2.0)
    assert found["stage_ms"]["parse"] == 0.0


def test_a_server_without_a_stage_has_spent_nothing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [profile._Reading({}, n, n, 0.0, 0.0) for n in (1, 2)]
    monkeypatch.setattr(profile, "_read", lambda _: readings.pop(0))
    server: Any = Running("ours", 1, 1, None, 0.0)  # type: ignore[arg-type]
    assert set(profile.profiled(server, dict)["stage_ms"].values()) == {0.0}
