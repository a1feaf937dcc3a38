"""promtool takes configuration and rules, and the rules' own tests pass."""

import shutil
from pathlib import Path

import pytest

from deployment.tools import DOCKER, run

pytestmark = pytest.mark.long
PROMETHEUS = DOCKER / "prometheus"


def test_configuration_and_rules_are_valid() -> None:
    # The key's file is made when the container starts, so it is not looked for.
    printed = run("promtool", "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert "SUCCESS" in printed
    assert "17 rules found" in run(
        "promtool", "check", "rules", "--lint-fatal", PROMETHEUS / "rules" / "diptych.yml"
    )


def test_every_alert_fires_when_it_should_and_a_healthy_hour_is_silent() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", PROMETHEUS / "tests" / "diptych.yml")


def test_alert_with_another_limit_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    file = tmp_path / "prometheus" / "rules" / "diptych.yml"
    text = file.read_text(encoding="utf-8")
    assert text.count("> 0.01") == 1
    file.write_text(text.replace("> 0.01", "> 0.1"), encoding="utf-8")
    printed = run("promtool", "test", "rules", tmp_path / "prometheus" / "tests" / "diptych.yml", code=1)
    assert "DiptychErrors" in printed
