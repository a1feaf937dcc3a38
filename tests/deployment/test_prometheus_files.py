"""Prometheus' own tool takes configuration and rules, and the tests of the rules pass."""

from deployment.tools import DOCKER, run
from support.queries import rules

PROMETHEUS = DOCKER / "prometheus"


def test_configuration_and_rules_are_valid() -> None:
    # The key's file is made when the container starts, so it is not looked for.
    printed = run("promtool", "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert "SUCCESS" in printed
    checked = run("promtool", "check", "rules", "--lint-fatal", PROMETHEUS / "rules" / "diptych.yml")
    assert f"{len(rules())} rules found" in checked


def test_every_alert_says_what_it_should_and_a_healthy_hour_is_silent() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", PROMETHEUS / "tests" / "diptych.yml")
