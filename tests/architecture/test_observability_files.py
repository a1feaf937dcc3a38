"""Dashboard and alert rules ask for metrics and labels that the server has; each alert has a runbook."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from diptych.adapters.prometheus import PrometheusMetrics
from diptych.core.ports import Reason
from diptych.core.types import DatabaseReport
from support.documents import DOCS, anchors
from support.queries import Query, dashboard_queries, rule_queries, rules
from unit.core.core_fakes import model_info

ROOT = Path(__file__).parents[2]
BY_PROMETHEUS = {"up": set[str]()}
SCRAPED = {"job", "instance"}  # labels that every scraped series has
QUERIES = [*dashboard_queries(), *rule_queries()]
RUNBOOKS = "https://git.example.org/diptych"
DATABASE = DatabaseReport(
    n_connections=2,
    n_connections_in_use=1,
    n_outages=0,
    is_available=True,
    write=1,
    n_behind=0,
    n_servers=1,
)
ALERTS = [rule for rule in rules() if "alert" in rule]


def served_labels() -> dict[str, set[str]]:
    """Every sample that the server can have, with its labels."""
    metrics = PrometheusMetrics()
    metrics.count_request("/embed", 200, 0.1)
    metrics.observe_stage("decode", 0.1)
    metrics.observe_batch("image", 1)
    metrics.add_queue_items("image", 1)
    metrics.count_rejected("decode_full")
    metrics.count_label_cache(1, 1)
    metrics.set_collection("default", 1)
    metrics.set_models([model_info()])
    metrics.set_active("fake", 1)
    metrics.set_ready(True)
    metrics.set_database(DATABASE)
    text = metrics.render()[0].decode()
    found = dict(BY_PROMETHEUS)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


SERVED = served_labels()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_query_asks_for_metrics_and_labels_that_there_are(query: Query) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert query.metrics() | query.recorded(), f"{query.place} asks for nothing of ours"
    assert query.metrics() - SERVED.keys() == set(), query.place
    assert query.recorded() - recorded == set(), query.place
    known = SCRAPED.union(*(SERVED[name] for name in query.metrics()))
    assert query.labels() - known == set(), query.place


def test_every_reason_of_a_refusal_is_documented() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| reason | refused with |")
    firsts = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines() if row.count("|") > 2]
    assert {word for first in firsts for word in re.findall(r"`(\w+)`", first)} == set(get_args(Reason))


def test_dashboard_shows_every_metric_of_the_server() -> None:
    shown = set[str]().union(*(query.metrics() for query in dashboard_queries()))
    ours = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for name in SERVED if name.startswith("diptych_")
    }
    missing = {name for name in ours if not any(one.startswith(name) for one in shown)}
    # It says what /readyz and diptych_model_info say, as long as one version serves at a time.
    assert missing == {"diptych_rollout_state"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_says_how_urgent_it_is_and_where_its_runbook_is(alert: dict[str, dict[str, str]]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    base, _, file_and_anchor = alert["annotations"]["runbook_url"].partition("/docs/")
    assert base == RUNBOOKS, "docs/containers.md says how to replace it in all of them"
    file, _, anchor = file_and_anchor.partition("#")
    assert anchor in anchors(DOCS / file)
    assert anchor == str(alert["alert"]).lower()


def test_runbook_has_no_alert_that_is_gone() -> None:
    page = (DOCS / "runbook.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^#+ (Diptych\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


def test_kubernetes_has_the_same_alerts() -> None:
    file = ROOT / "docker" / "kubernetes" / "alerts.yaml"
    there = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
    here = yaml.safe_load(
        (ROOT / "docker" / "prometheus" / "rules" / "diptych.yml").read_text(encoding="utf-8")
    )
    assert there == here
