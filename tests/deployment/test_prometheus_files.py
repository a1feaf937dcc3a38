"""promtool takes configuration and rules; the tests of the rules pass, and fail for rules that are wrong."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.alert_edges import EDGES
from deployment.alert_series import promtool_file
from deployment.rule_mutants import mutants
from deployment.tools import DOCKER, run, tool
from support.queries import rules

pytestmark = pytest.mark.long
PROMETHEUS = DOCKER / "prometheus"
RULES = PROMETHEUS / "rules" / "diptych.yml"
NAMES = [rule.get("alert") or rule["record"] for rule in rules()]


def test_configuration_and_rules_are_valid() -> None:
    # The key's file is made when the container starts, so it is not looked for.
    printed = run("promtool", "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert "SUCCESS" in printed
    assert "17 rules found" in run("promtool", "check", "rules", "--lint-fatal", RULES)


def test_every_alert_says_what_it_should_and_a_healthy_hour_is_silent() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", PROMETHEUS / "tests" / "diptych.yml")


def test_every_alert_begins_and_ends_at_its_limit_and_its_minute(tmp_path: Path) -> None:
    assert EDGES.keys() == {rule["alert"] for rule in rules() if "alert" in rule}
    assert "SUCCESS" in run("promtool", "test", "rules", edges_file(tmp_path, RULES, *EDGES))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_rule_with_another_limit_window_wait_or_word_is_noticed(name: str, tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    file = tmp_path / "prometheus" / "rules" / "diptych.yml"
    concerned = [
        one["alert"] for one in rules() if "alert" in one and name in (one["alert"], *one["expr"].split())
    ]
    tests = (edges_file(tmp_path, file, *concerned), tmp_path / "prometheus" / "tests" / "diptych.yml")
    (rule,) = [one for one in rules() if name in (one.get("alert"), one.get("record"))]
    unnoticed = []
    for mutant in mutants(rule):
        write_instead(rule, mutant, file)
        if all(passes(one) for one in tests):
            unnoticed.append((mutant["expr"], mutant.get("for")))
    assert unnoticed == []


def write_instead(rule: dict[str, Any], other: dict[str, Any], file: Path) -> None:
    """All rules, with the other one in place of the rule."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in document["groups"]:
        group["rules"] = [other if one == rule else one for one in group["rules"]]
    file.write_text(yaml.safe_dump(document), encoding="utf-8")


def passes(tests: Path) -> bool:
    """AssertionError where the tests could not be made at all."""
    done = subprocess.run(
        [tool("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False
    )
    printed = done.stdout + done.stderr
    assert ("SUCCESS" in printed) == (done.returncode == 0), printed
    assert "exp:" in printed or done.returncode == 0, printed
    return done.returncode == 0


def edges_file(folder: Path, rules_file: Path, *alerts: str) -> Path:
    file = folder / "edges.yml"
    tests = promtool_file({alert: EDGES[alert] for alert in alerts}, rules_file)
    file.write_text(yaml.safe_dump(tests), encoding="utf-8")
    return file
