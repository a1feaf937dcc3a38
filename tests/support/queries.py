"""Read the PromQL expressions of the dashboard and of the rules, and the metrics in them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "diptych.json"
RULES = ROOT / "docker" / "prometheus" / "rules" / "diptych.yml"
_METRIC = re.compile(r"\b(?:diptych|process)_[a-z_]+\b|\bup\b")
_RECORDED = re.compile(r"\bdiptych:[a-z0-9_:]+")
_SELECTOR = re.compile(r"(?P<metric>\b(?:diptych|process)_[a-z_]+|\bup)\{(?P<matchers>[^}]*)\}")
_GROUPING = re.compile(r"\bby \((?P<labels>[^)]*)\)")


@dataclass(frozen=True)
class Query:
    """One expression and its place."""

    place: str
    expression: str

    def metrics(self) -> set[str]:
        """Return the metrics in an expression, such as `diptych_requests_total`, without quoted words."""
        return set(_METRIC.findall(re.sub(r'"[^"]*"', '""', self.expression)))

    def recorded(self) -> set[str]:
        """Return the recorded series in an expression, such as `diptych:requests:rate5m`."""
        return set(_RECORDED.findall(self.expression))

    def labels(self) -> set[str]:
        """Return the labels that an expression selects or groups by."""
        matchers = (match["matchers"] for match in _SELECTOR.finditer(self.expression))
        selected = {name for one in matchers for name in re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', one)}
        grouped = {
            name.strip()
            for match in _GROUPING.finditer(self.expression)
            for name in match["labels"].split(",")
        }
        return selected | grouped


def dashboard_queries() -> list[Query]:
    """Return the queries of all panels and annotations, with values in place of variables of Grafana."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [
        Query(f"panel {panel['title']!r}", target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    notes = dashboard["annotations"]["list"]
    return found + [Query(f"annotation {note['name']!r}", note["expr"]) for note in notes]


def rules() -> list[dict[str, Any]]:
    """Return all alerts and recording rules."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def rule_queries() -> list[Query]:
    """Return the queries of all rules."""
    return [Query(f"rule {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules()]
