"""Every PromQL expression of the dashboard and of the rules, and what they ask for; runs none."""

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
    """One expression, and where it stands."""

    place: str
    expression: str

    def metrics(self) -> set[str]:
        """Names of metrics, such as `diptych_requests_total`; quoted words are none."""
        return set(_METRIC.findall(re.sub(r'"[^"]*"', '""', self.expression)))

    def recorded(self) -> set[str]:
        """Names of recorded series, such as `diptych:requests:rate5m`."""
        return set(_RECORDED.findall(self.expression))

    def labels(self) -> set[str]:
        """Labels that it selects or groups by."""
        matchers = (match["matchers"] for match in _SELECTOR.finditer(self.expression))
        selected = {name for one in matchers for name in re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', one)}
        grouped = {
            name.strip()
            for match in _GROUPING.finditer(self.expression)
            for name in match["labels"].split(",")
        }
        return selected | grouped


def dashboard_queries() -> list[Query]:
    """Of all panels and annotations, as Grafana would send them but for its variables."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [
        Query(f"panel {panel['title']!r}", target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    notes = dashboard["annotations"]["list"]
    return found + [Query(f"annotation {note['name']!r}", note["expr"]) for note in notes]


def rules() -> list[dict[str, Any]]:
    """Alerts and recordings."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def rule_queries() -> list[Query]:
    """Of all rules."""
    return [Query(f"rule {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules()]
